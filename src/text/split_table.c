/* The pre-tokenizers by name. Names and rules that belong together are one row; docs/tokenizers.md says how
 * to add one. */
#include "text/split.h"

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
