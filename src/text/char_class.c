#include "text/char_class.h"

#include <utf8proc.h>

#include "base/utf8.h"

// clang-format off
const uint16_t char_class_ascii[256] = {
    ['\t'] = C_SPACE, ['\n'] = C_SPACE | C_NEWLINE, ['\v'] = C_SPACE, ['\f'] = C_SPACE,
    ['\r'] = C_SPACE | C_NEWLINE, [' '] = C_SPACE,
    ['!'] = C_PUNCT, ['"'] = C_PUNCT, ['#'] = C_PUNCT, ['%'] = C_PUNCT, ['&'] = C_PUNCT, ['\''] = C_PUNCT,
    ['('] = C_PUNCT, [')'] = C_PUNCT, ['*'] = C_PUNCT, [','] = C_PUNCT, ['-'] = C_PUNCT, ['.'] = C_PUNCT,
    ['/'] = C_PUNCT, [':'] = C_PUNCT, [';'] = C_PUNCT, ['?'] = C_PUNCT, ['@'] = C_PUNCT, ['['] = C_PUNCT,
    ['\\'] = C_PUNCT, [']'] = C_PUNCT, ['_'] = C_PUNCT, ['{'] = C_PUNCT, ['}'] = C_PUNCT,
    ['$'] = C_SYMBOL, ['+'] = C_SYMBOL, ['<' ... '>'] = C_SYMBOL, ['^'] = C_SYMBOL, ['`'] = C_SYMBOL,
    ['|'] = C_SYMBOL, ['~'] = C_SYMBOL,
    ['0' ... '9'] = C_NUMBER | C_DIGIT, ['A' ... 'Z'] = C_LETTER | C_UPPER, ['a' ... 'z'] = C_LETTER | C_LOWER,
    [0x80 ... 0xFF] = C_WIDE};
// clang-format on

static uint16_t wide_class(uint32_t cp)
{
    if (cp == 0x85) return C_SPACE;
    /* Unicode 15.1: CJK extension I and the description characters. */
    if (cp >= 0x2EBF0 && cp <= 0x2EE5D) return C_LETTER;
    if ((cp >= 0x2FFC && cp <= 0x2FFF) || cp == 0x31EF) return C_SYMBOL;
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO: return C_LETTER;
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME: return C_MARK;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return C_NUMBER;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO: return C_PUNCT;
    case UTF8PROC_CATEGORY_SM:
    case UTF8PROC_CATEGORY_SC:
    case UTF8PROC_CATEGORY_SK:
    case UTF8PROC_CATEGORY_SO: return C_SYMBOL;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return C_SPACE;
    default: return 0;
    }
}

struct ch ch_wide(const char *p, const char *end)
{
    uint32_t cp;
    uint8_t len = (uint8_t)utf8_decode(p, (size_t)(end - p), &cp);
    return (struct ch){cp, wide_class(cp), len};
}
