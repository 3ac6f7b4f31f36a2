/* The inside of a tokenizer: vocabulary tables, pre-tokenizer rules, merge engines. Private to src/text. */
#ifndef CORRAL_TOK_INT_H
#define CORRAL_TOK_INT_H

#include "text/tokenizer.h"

#include <string.h>

enum {
    TOK_MAX_VOCAB = 4 << 20,   /* tokens */
    TOK_MAX_TOKEN = 64 << 10,  /* bytes of one token's text */
    TOK_SHORT_RUN = 48,        /* symbols that merge without the heap */
    TOK_MAX_SPECIAL = 1 << 10, /* bytes of a token that is looked for in text */
};
#define TOK_MAX_TEXT ((size_t)1 << 30) /* bytes of text for one call, and of all tokens together */

/* A byte string inside a blob. */
struct tok_span {
    uint32_t off, n;
};

/* String to token id; the strings stay in the blob. Hashes are keyed, so a file cannot choose collisions. */
struct tok_slot {
    uint32_t hash;
    int32_t id; /* -1: empty */
};
struct tok_strmap {
    struct tok_slot *slot;
    uint32_t mask;
    uint64_t seed;
    const char *blob;
    const struct tok_span *span; /* by id */
};
status strmap_init(struct tok_strmap *m, size_t n, uint64_t seed, const char *blob,
                   const struct tok_span *span, struct error *e);
void strmap_deinit(struct tok_strmap *m);
void strmap_put(struct tok_strmap *m, int32_t id); /* a later id replaces an earlier one of the same text */
int32_t strmap_find(const struct tok_strmap *m, const char *s, size_t n); /* -1: absent */

/* (left id, right id) to what they merge into. A lower rank merges first. */
struct tok_pair {
    uint64_t key;
    uint32_t rank;
    int32_t id;
};
struct tok_pairmap {
    struct tok_pair *slot;
    uint32_t mask;
    uint64_t seed;
};

#define TOK_NO_PAIR UINT64_MAX

static inline uint64_t tok_fold(uint64_t a, uint64_t b)
{
    unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static inline const struct tok_pair *pairmap_find(const struct tok_pairmap *m, int32_t left, int32_t right)
{
    if (left < 0 || right < 0 || !m->slot) return NULL;
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint32_t i = (uint32_t)tok_fold(key ^ m->seed, 0x9E3779B97F4A7C15u) & m->mask;
    for (; m->slot[i].key != key; i = (i + 1) & m->mask)
        if (m->slot[i].key == TOK_NO_PAIR) return NULL;
    return &m->slot[i];
}

/* Tokens that are recognised in the text before the model sees it: sorted by text, with filters that make a
 * text without any of them cheap. */
struct tok_specials {
    int32_t *id;
    uint32_t n;
    bool strips;                                /* some token swallows the blanks behind it */
    uint64_t start[65536 / 64];                 /* bit: some token may begin with these two bytes */
    uint64_t has_len[TOK_MAX_SPECIAL / 64 + 1]; /* bit n: some token has n bytes */
};

enum { TOK_RSTRIP = 1, TOK_EOG = 2 }; /* flags of a token */

enum tok_model { TOK_SPM, TOK_BPE };
struct pre_rules;

struct tokenizer {
    enum tok_model model;
    char *model_name, *pre_name;
    uint32_t n_vocab;
    uint32_t max_token; /* bytes of the longest text or piece */

    char *blob;                    /* all texts and pieces */
    struct tok_span *text, *piece; /* by id; piece: what the token stands for */
    float *score;                  /* SPM only */
    uint8_t *attr, *flags;

    struct tok_strmap by_text;
    struct tok_strmap by_piece;    /* words that are one token, see index_words */
    struct tok_pairmap pairs;      /* BPE */
    struct tok_specials user, all; /* user-defined only; and control and unknown */
    int32_t byte_id[256];          /* -1: the vocabulary has none */

    int32_t bos, eos, unk;
    bool adds_bos, adds_eos;
    bool space_prefix;      /* SPM: a dummy space before the text */
    bool before_space[256]; /* SPM: some token has this byte before a space mark */

    const struct pre_rules *pre; /* BPE */
};

/* One call of tokenizer_encode. */
struct tok_run {
    const struct tokenizer *t;
    struct tok_ids *ids;
    status code; /* first failure: out of memory */
};

/* A token may come out of merging: those with a meaning of their own may not be spelt by text. */
static inline bool tok_is_plain(const struct tokenizer *t, int32_t id)
{
    return t->attr[id] == TOK_NORMAL || t->attr[id] == TOK_USER_DEFINED || t->attr[id] == TOK_UNUSED;
}

/* False: the word is not one token. */
static inline bool tok_add_whole(struct tok_run *run, const char *word, size_t n)
{
    int32_t id = n <= run->t->max_token ? strmap_find(&run->t->by_piece, word, n) : -1;
    if (id >= 0) tok_ids_add(run->ids, id);
    return id >= 0;
}

/* vocab.c */
status vocab_load(struct tokenizer *t, const struct gguf *g, struct error *e);

/* special.c */
status specials_init(struct tok_specials *s, const struct tokenizer *t, bool control, struct error *e);
void specials_deinit(struct tok_specials *s);
/* Cut text into stretches: id >= 0 is that token, -1 is text for the model. *out is to be freed. */
status specials_cut(const struct tok_specials *s, const struct tokenizer *t, const char *text, size_t n,
                    struct tok_stretch **out, size_t *n_out, struct error *e);

/* merge.c: the merge loop. */
struct tok_sym {
    uint32_t off, n;     /* bytes of the text; n 0: merged away */
    uint32_t prev, next; /* UINT32_MAX: none */
    int32_t id;          /* -1: not in the vocabulary */
};
/* Whether a and b, which are neighbours in text, merge: *order (smaller is sooner) and the id. */
typedef bool tok_join(const struct tokenizer *t, const char *text, const struct tok_sym *a,
                      const struct tok_sym *b, uint32_t *order, int32_t *id);
/* Merge the n linked symbols until no two join; symbol 0 stays the first. false: out of memory. */
bool merge_all(const struct tokenizer *t, const char *text, struct tok_sym *sym, uint32_t n, tok_join *join);

/* Call a model's word function for each plain token on its own bytes (span) and index in by_piece those that
 * give just themselves; with all set, every plain token. */
typedef void tok_word(struct tok_run *run, const char *word, size_t n);
status index_words(struct tokenizer *t, const struct tok_span *span, tok_word *word, bool all,
                   struct error *e);

/* spm.c */
status spm_init(struct tokenizer *t, const struct gguf *g, struct error *e);
void spm_encode(struct tok_run *run, const char *text, size_t n, bool prefix);

/* bpe.c */
status bpe_init(struct tokenizer *t, const struct gguf *g, struct error *e);
void bpe_encode(struct tok_run *run, const char *text, size_t n);
void bpe_word(struct tok_run *run, const char *word, size_t n);
/* The bytes that a token's text stands for in the byte-level alphabet of GPT-2. Writes at most n bytes. */
size_t bpe_decode_text(const char *text, size_t n, char *out);

/* split_table.c: pre-tokenizers. */
const struct pre_rules *pre_find(const char *name);
bool pre_ignores_merges(const struct pre_rules *p);
bool pre_adds_bos(const struct pre_rules *p);
const char *pre_name_at(size_t i); /* the names of the table's rows, separated by spaces; NULL ends them */
/* split.c: call word for every word of text, in order. */
void pre_split(const struct pre_rules *p, const char *text, size_t n, struct tok_run *run, tok_word *word);

#endif
