/* Pre-tokenizers: how text is cut into words before byte-level BPE merges inside each of them.
 *
 * A pre-tokenizer is a list of passes; each pass cuts every stretch that the one before it left. A pass is
 * either a word rule, the hand-compiled form of the regular expressions that descend from GPT-2's, or an
 * isolating rule "[class]{min,max}" whose matches stand alone. The expressions are format data: they are
 * published in each model's tokenizer.json and quoted in docs/tokenizers.md. Where the reference that made
 * our golden vectors departs from a model's own expression, the rules here follow the reference; the page
 * says where.
 *
 * Classes come from utf8proc (Unicode 15.0), so no expression engine with tables of another version is in
 * between. Every rule looks at each character a constant number of times. */
#include "text/char_class.h"
#include "text/tok_int.h"

/* Past the characters from p on that have a class in want and none in not. */
static inline const char *run_of(const char *p, const char *end, unsigned want, unsigned not )
{
    for (;;) {
        struct ch c = ch_at(p, end);
        if (!c.len || !(c.cls & want) || c.cls & not ) return p;
        p += c.len;
    }
}
/* Past those that have none of the classes in not. */
static inline const char *run_without(const char *p, const char *end, unsigned not )
{
    for (;;) {
        struct ch c = ch_at(p, end);
        if (!c.len || c.cls & not ) return p;
        p += c.len;
    }
}

struct range {
    uint32_t lo, hi;
};

/* r is sorted. */
static bool in_ranges(uint32_t cp, const struct range *r, size_t n)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (cp > r[mid].hi)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && r[lo].lo <= cp;
}

enum contraction { NO_CONTRACTION, LOWER_CASE, ANY_CASE, ANY_CASE_AFTER_WORD };
enum lead { LEAD_SPACE, LEAD_ANY }; /* " ?" or "[^\r\n\p{L}\p{N}]?" before letters */

struct word_rule {
    enum contraction contraction; /* 's 't 're 've 'm 'll 'd */
    enum lead lead;
    uint16_t letters;   /* classes that words are made of */
    bool cased;         /* a word ends where lower case turns to upper, as in o200k */
    bool han;           /* runs of Han characters are words of their own */
    uint8_t max_digits; /* 0: any number, after an optional space */
    const char *tail;   /* characters that may follow punctuation */
    bool newlines;      /* "\s*[\r\n]+" */
};

static const struct range han[] = {{0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFAFF},
                                   {0x20000, 0x2A6DF}, {0x2A700, 0x2EBEF}, {0x2F800, 0x2FA1F}};

static bool is_han(struct ch c)
{
    return c.cp >= 0x3400 && c.len && in_ranges(c.cp, han, COUNT_OF(han));
}

/* Bytes of the contraction at p, 0 when there is none. */
static size_t contraction_at(const char *p, const char *end, bool any_case)
{
    if (end - p < 2 || p[0] != '\'') return 0;
    char fold = any_case ? 0x20 : 0, a = (char)(p[1] | fold), b = end - p > 2 ? (char)(p[2] | fold) : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* The end of "U*W+" or else "U+W*" at p, where U is any letter but a-z and W any letter but A-Z: letters
 * beyond ASCII are both. p when there is no letter. */
static const char *cased_word(const char *p, const char *end)
{
    const char *after_both = NULL; /* behind the last letter that is both */
    struct ch c;
    for (; (c = ch_at(p, end)).cls & C_LETTER && !(c.cls & C_LOWER); p += c.len)
        if (!(c.cls & C_UPPER)) after_both = p + c.len;
    if (c.cls & C_LOWER) return run_of(p, end, C_LETTER, C_UPPER);
    return after_both ? after_both : p;
}

static const char *letters_end(const struct word_rule *r, const char *p, const char *end)
{
    if (r->cased) return cased_word(p, end);
    if (!r->han) return run_of(p, end, r->letters, 0);
    struct ch c;
    while ((c = ch_at(p, end)).cls & C_LETTER && !is_han(c)) p += c.len;
    return p;
}

/* The end of the word at p, p when it is not one: an optional leading character, then letters. */
static const char *word_at(const struct word_rule *r, const char *p, const char *end, struct ch c)
{
    const char *q = p;
    if (!(c.cls & r->letters)) {
        if (r->lead == LEAD_SPACE ? c.cp != ' ' : (c.cls & (C_NEWLINE | C_LETTER | C_NUMBER)) != 0) return p;
        q += c.len;
    }
    const char *stop = letters_end(r, q, end);
    if (stop == q) return p;
    if (r->contraction == ANY_CASE_AFTER_WORD) stop += contraction_at(stop, end, true);
    return stop;
}

static const char *number_at(const struct word_rule *r, const char *p, const char *end, struct ch c)
{
    if (!r->max_digits) {
        const char *q = p + (c.cp == ' '), *stop = run_of(q, end, C_NUMBER, 0);
        return stop == q ? p : stop;
    }
    for (unsigned i = 0; i < r->max_digits && (c = ch_at(p, end)).cls & C_NUMBER; i++) p += c.len;
    return p;
}

/* "\s*[\r\n]+" where asked for, else "\s+(?!\S)", else "\s+"; p when there is no blank. */
static const char *blanks_at(const char *p, const char *end, bool newlines)
{
    const char *begin = p, *last = p, *newline = NULL;
    struct ch c;
    for (; (c = ch_at(p, end)).cls & C_SPACE; p += c.len) {
        last = p;
        if (c.cls & C_NEWLINE) newline = p + c.len;
    }
    if (newlines && newline) return newline;
    return c.len && last > begin ? last : p; /* leave one blank to the word that follows */
}

static const char *word_end(const struct word_rule *r, const char *p, const char *end)
{
    struct ch c = ch_at(p, end);
    const char *q;
    if (c.cp == '\'' && (r->contraction == LOWER_CASE || r->contraction == ANY_CASE)) {
        size_t n = contraction_at(p, end, r->contraction == ANY_CASE);
        if (n) return p + n;
    }
    if (r->han && is_han(c)) {
        while (is_han(ch_at(p, end))) p += ch_at(p, end).len;
        return p;
    }
    if ((q = word_at(r, p, end, c)) != p) return q;
    if ((q = number_at(r, p, end, c)) != p) return q;
    unsigned not_punct = C_SPACE | C_NUMBER | r->letters;
    q = p + (c.cp == ' ');
    const char *stop = run_without(q, end, not_punct);
    if (stop != q) {
        while (stop < end && *stop && strchr(r->tail, *stop)) stop++;
        return stop;
    }
    q = blanks_at(p, end, r->newlines);
    return q != p ? q : p + c.len;
}

/* ---- DeepSeek V3: words may begin with an ASCII sign, punctuation is named rather than the rest ---- */

static const char *deepseek3_end(const char *p, const char *end)
{
    struct ch c = ch_at(p, end), next = ch_at(p + c.len, end);
    const char *q;
    if (c.cp < 0x80 && c.cls & (C_PUNCT | C_SYMBOL) && next.cls & (C_UPPER | C_LOWER))
        return run_of(p + 1, end, C_UPPER | C_LOWER, 0);
    if (c.cls & (C_LETTER | C_MARK)) return run_of(p, end, C_LETTER | C_MARK, 0);
    if (!(c.cls & (C_NEWLINE | C_PUNCT | C_SYMBOL)) && next.cls & (C_LETTER | C_MARK))
        return run_of(p + c.len, end, C_LETTER | C_MARK, 0);
    q = p + (c.cp == ' ');
    const char *stop = run_of(q, end, C_PUNCT | C_SYMBOL, 0);
    if (stop != q) return run_of(stop, end, C_NEWLINE, 0);
    q = blanks_at(p, end, true);
    return q != p ? q : NULL;
}

/* ---- isolating rules ---- */

struct isolate {
    uint16_t classes;          /* a character matches by class, */
    const struct range *range; /* or unless it is a blank by number */
    uint8_t n_range;
    bool blank_before; /* "\s?" */
    uint8_t min, max;  /* max 0: any number */
};

static bool isolates(const struct isolate *r, struct ch c)
{
    if (!c.len) return false;
    return c.cls & r->classes || (r->n_range && !(c.cls & C_SPACE) && in_ranges(c.cp, r->range, r->n_range));
}

static const char *isolate_end(const struct isolate *r, const char *p, const char *end)
{
    struct ch c = ch_at(p, end);
    unsigned n = 0;
    if (r->blank_before && c.cls & C_SPACE) p += c.len;
    while ((!r->max || n < r->max) && isolates(r, c = ch_at(p, end))) {
        p += c.len;
        n++;
    }
    return n && n >= r->min ? p : NULL;
}

/* ---- the table ---- */

static const struct range falcon_signs[] = {{'$', '$'}, {'+', '+'}, {'<', '>'}, {'^', '^'},
                                            {'`', '`'}, {'|', '|'}, {'~', '~'}};
static const struct range default_signs[] = {{'$', '$'}, {'+', '+'}, {'<', '>'},
                                             {'^', '^'}, {'|', '|'}, {'~', '~'}};
static const struct range cjk[] = {{0x0800, 0x9FA5}, {0xAC00, 0xD7FF}};
static const struct range cjk_kana[] = {{0x3040, 0x30FF}, {0x4E00, 0x9FA5}};
static const struct range deepseek_signs[] = {{'!', '/'},       {':', '~'},       {0x2018, 0x201F},
                                              {0x3000, 0x3002}, {0xFF01, 0xFF0F}, {0xFF1A, 0xFF5E}};
static const struct range deepseek_letters[] =
    {/* the cased letters, as tokenizer.json lists them */
     {0x41, 0x5A},       {0x61, 0x7A},       {0xB5, 0xB5},       {0xC0, 0xD6},       {0xD8, 0xF6},
     {0xF8, 0x1BA},      {0x1BC, 0x1BF},     {0x1C4, 0x293},     {0x295, 0x2AF},     {0x370, 0x373},
     {0x376, 0x377},     {0x37B, 0x37D},     {0x37F, 0x37F},     {0x386, 0x386},     {0x388, 0x38A},
     {0x38C, 0x38C},     {0x38E, 0x3A1},     {0x3A3, 0x3F5},     {0x3F7, 0x481},     {0x48A, 0x52F},
     {0x531, 0x556},     {0x10A0, 0x10C5},   {0x13A0, 0x13F5},   {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},
     {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},   {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},
     {0x1F18, 0x1F1D},   {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
     {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},   {0x1FB6, 0x1FBC},
     {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},   {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},
     {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},   {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},
     {0x210A, 0x2113},   {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
     {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},   {0x213C, 0x213F},
     {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},
     {0x2CEB, 0x2CEE},   {0x2CF2, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},   {0xA722, 0xA76F},
     {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},   {0xFB00, 0xFB06},   {0xFB13, 0xFB17},
     {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},   {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB},
     {0x10C80, 0x10CB2}, {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943}};

enum pass_kind { PASS_NONE, PASS_WORD, PASS_ISOLATE, PASS_DEEPSEEK3, PASS_LAST_BLANKS };
struct pass {
    enum pass_kind kind;
    struct word_rule word;
    struct isolate isolate;
};
enum { MAX_PASS = 6 };
struct pre_rules {
    const char *names;  /* separated by spaces */
    bool ignore_merges; /* a word that is a token is that token, whatever merging would give */
    bool adds_bos;      /* when the file does not say */
    struct pass pass[MAX_PASS];
};

#define WORD(...)                                                                                            \
    {                                                                                                        \
        .kind = PASS_WORD, .word = { __VA_ARGS__ }                                                           \
    }
#define ISOLATE(...)                                                                                         \
    {                                                                                                        \
        .kind = PASS_ISOLATE, .isolate = { __VA_ARGS__ }                                                     \
    }
#define RANGE(r)  .range = r, .n_range = COUNT_OF(r)
#define WORD_GPT2 WORD(.contraction = LOWER_CASE, .lead = LEAD_SPACE, .letters = C_LETTER, .tail = "")
#define WORD_CL100K(max)                                                                                     \
    WORD(.contraction = ANY_CASE, .lead = LEAD_ANY, .letters = C_LETTER, .max_digits = max, .tail = "\r\n",  \
         .newlines = true)

static const struct pre_rules table[] = {
    {.names =
         "gpt-2 phi-2 jina-es jina-de jina-v2-es jina-v2-de gigachat a.x-4.0 mellum mpt olmo jais trillion "
         "granite-docling exaone4 modern-bert",
     .pass = {WORD_GPT2}},
    {.names = "llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano",
     .ignore_merges = true,
     .adds_bos = true,
     .pass = {WORD_CL100K(3)}},
    {.names = "dbrx smaug-bpe chatglm-bpe", .pass = {WORD_CL100K(3)}},
    {.names = "glm4 glm5", .ignore_merges = true, .pass = {WORD_CL100K(3)}},
    {.names = "minicpm5",
     .ignore_merges = true,
     .pass = {ISOLATE(.classes = C_NUMBER, .max = 3), WORD_CL100K(3)}},
    {.names = "qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2 bailingmoe "
              "bailingmoe2 llada-moe",
     .pass = {WORD_CL100K(1)}},
    {.names = "qwen35",
     .pass = {WORD(.contraction = ANY_CASE, .lead = LEAD_ANY, .letters = C_LETTER | C_MARK, .max_digits = 1,
                   .tail = "\r\n", .newlines = true)}},
    {.names = "seed-coder",
     .pass = {WORD(.contraction = ANY_CASE, .lead = LEAD_ANY, .letters = C_LETTER, .max_digits = 1,
                   .tail = "", .newlines = true)}},
    {.names = "gpt-4o llama4 kanana2 talkie minimax-m2",
     .pass = {WORD(.contraction = ANY_CASE_AFTER_WORD, .lead = LEAD_ANY, .letters = C_LETTER, .cased = true,
                   .max_digits = 3, .tail = "\r\n/", .newlines = true)}},
    {.names = "tekken",
     .ignore_merges = true,
     .adds_bos = true,
     .pass = {WORD(.contraction = NO_CONTRACTION, .lead = LEAD_ANY, .letters = C_LETTER, .cased = true,
                   .max_digits = 1, .tail = "\r\n/", .newlines = true)}},
    {.names = "kimi-k2",
     .pass = {WORD(.contraction = ANY_CASE_AFTER_WORD, .lead = LEAD_ANY, .letters = C_LETTER, .han = true,
                   .max_digits = 3, .tail = "\r\n", .newlines = true)}},
    {.names = "starcoder refact command-r smollm codeshell exaone minerva-7b mellum2",
     .pass = {ISOLATE(.classes = C_NUMBER, .max = 1), WORD_GPT2}},
    {.names = "falcon",
     .pass = {ISOLATE(.classes = C_PUNCT, RANGE(falcon_signs)), WORD_GPT2,
              ISOLATE(.classes = C_DIGIT, .min = 3, .max = 3)}},
    {.names = "default gpt-neox",
     .pass = {ISOLATE(.classes = C_PUNCT, RANGE(default_signs)), WORD_GPT2, ISOLATE(.classes = C_NUMBER),
              ISOLATE(.classes = C_DIGIT, .min = 3, .max = 3)}},
    {.names = "deepseek-llm",
     .pass = {ISOLATE(.classes = C_NEWLINE, .max = 1),
              ISOLATE(.blank_before = true, RANGE(deepseek_letters)),
              ISOLATE(.blank_before = true, RANGE(deepseek_signs)),
              {.kind = PASS_LAST_BLANKS},
              ISOLATE(RANGE(cjk)),
              ISOLATE(.classes = C_NUMBER)}},
    {.names = "deepseek-coder",
     .pass = {ISOLATE(.classes = C_NEWLINE, .max = 1), ISOLATE(.blank_before = true, .classes = C_LETTER),
              ISOLATE(.blank_before = true, .classes = C_PUNCT), ISOLATE(RANGE(cjk)),
              ISOLATE(.classes = C_NUMBER, .max = 1)}},
    {.names = "deepseek-v3 hunyuan-dense hy_v4 joyai-llm",
     .pass = {ISOLATE(.classes = C_NUMBER, .max = 3), ISOLATE(RANGE(cjk_kana)), {.kind = PASS_DEEPSEEK3}}},
};

const struct pre_rules *pre_find(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; n && i < COUNT_OF(table); i++)
        for (const char *p = table[i].names; *p; p += strspn(p, " ")) {
            size_t len = strcspn(p, " ");
            if (len == n && memcmp(p, name, n) == 0) return &table[i];
            p += len;
        }
    return NULL;
}

const char *pre_name_at(size_t i)
{
    return i < COUNT_OF(table) ? table[i].names : NULL;
}

bool pre_ignores_merges(const struct pre_rules *p)
{
    return p->ignore_merges;
}
bool pre_adds_bos(const struct pre_rules *p)
{
    return p->adds_bos;
}

/* The end of what the pass matches at p; NULL: nothing. */
static inline const char *match_end(const struct pass *s, const char *p, const char *end)
{
    switch (s->kind) {
    case PASS_WORD: return word_end(&s->word, p, end);
    case PASS_ISOLATE: return isolate_end(&s->isolate, p, end);
    case PASS_DEEPSEEK3: return deepseek3_end(p, end);
    default: return NULL;
    }
}

struct splitter { /* where the words go */
    struct tok_run *run;
    tok_word *word;
};

static void split_from(const struct pass *s, unsigned left, const struct splitter *to, const char *p,
                       const char *end);

static void hand_on(const struct pass *s, unsigned left, const struct splitter *to, const char *p,
                    const char *end)
{
    if (p == end) return;
    if (left && s[1].kind != PASS_NONE)
        split_from(s + 1, left - 1, to, p, end);
    else
        to->word(to->run, p, (size_t)(end - p));
}

/* "\s+$": the blanks at the end of a stretch stand alone. */
static void split_last_blanks(const struct pass *s, unsigned left, const struct splitter *to, const char *p,
                              const char *end)
{
    const char *blanks = end;
    struct ch c;
    for (const char *q = p; (c = ch_at(q, end)).len; q += c.len) {
        if (!(c.cls & C_SPACE))
            blanks = end;
        else if (blanks == end)
            blanks = q;
    }
    hand_on(s, left, to, p, blanks);
    hand_on(s, left, to, blanks, end);
}

/* Cut p..end by pass s and hand the parts to the `left` passes after it. */
static void split_from(const struct pass *s, unsigned left, const struct splitter *to, const char *p,
                       const char *end)
{
    if (s->kind == PASS_LAST_BLANKS) {
        split_last_blanks(s, left, to, p, end);
        return;
    }
    const char *unmatched = p;
    while (p < end && to->run->code == OK) {
        const char *stop = match_end(s, p, end);
        if (!stop) {
            p += ch_at(p, end).len;
            continue;
        }
        hand_on(s, left, to, unmatched, p);
        hand_on(s, left, to, p, stop);
        unmatched = p = stop;
    }
    hand_on(s, left, to, unmatched, p);
}

void pre_split(const struct pre_rules *p, const char *text, size_t n, struct tok_run *run, tok_word *word)
{
    struct splitter to = {run, word};
    split_from(p->pass, MAX_PASS - 1, &to, text, text + n);
}
