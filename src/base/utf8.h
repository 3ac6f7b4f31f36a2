/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef CORRAL_UTF8_H
#define CORRAL_UTF8_H

#include "base/base.h"

/* Length (1..4) of the valid sequence that starts at s, or 0: invalid, or cut off by n. */
size_t utf8_valid_len(const char *s, size_t n);
/* Decode one valid-or-not sequence: *cp is U+FFFD and 1 is returned when it is not valid. n > 0. */
size_t utf8_decode(const char *s, size_t n, uint32_t *cp);
size_t utf8_encode(char out[4], uint32_t cp); /* 1..4; cp must be a scalar value */
/* How many bytes at the end of s are the beginning of a sequence that more bytes could complete (0..3). */
size_t utf8_tail(const char *s, size_t n);
bool   utf8_valid(const char *s, size_t n);

#endif
