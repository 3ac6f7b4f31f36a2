/* The mixtures are llama.cpp's, as its k-quants pull request (ggml-org/llama.cpp#1684) and the README of its
 * quantize tool describe them, so that a name means the same file here: some tensors lose much more than
 * others when they lose bits (the output matrix, the values of attention, the way down of the feed-forward
 * net, above all in the first and last layers), and they are small enough to get more. */
#include "cli/quantize_plan.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* --- rules --- */

enum role {
    ROLE_OTHER,
    OUTPUT, /* token_embd too, in a model without an output matrix of its own */
    TOKEN_EMBD,
    ATTN_K,
    ATTN_V, /* also where it is one matrix with others */
    ATTN_OUTPUT,
    FFN_DOWN,
    NO_EXPERT, /* for rules: any matrix that is not one of a set of experts' */
};
enum where {
    ALWAYS = 1,
    FIRST_2,
    FIRST_4,
    FIRST_16TH,
    FIRST_8TH,
    SOME,         /* the first and the last eighth of the layers, and every third of those between */
    SHARED_KV,    /* four or more query heads to one key and value head: the matrix is that much smaller */
    OF_8_EXPERTS, /* beside eight experts, the rest of a layer is small */
    OF_EXPERTS,
};
struct quantize_rule {
    enum role role;
    enum where where; /* 0 ends the list */
    enum dtype type;
};

// clang-format off
/* Of the rules that apply to a tensor, the one with the most bits wins. */
static const struct quantize_rule
    common[] = { /* for every type made of blocks */
        {OUTPUT, ALWAYS, DT_Q6_K}, {ATTN_V, OF_8_EXPERTS, DT_Q8_0}, {ATTN_K, OF_8_EXPERTS, DT_Q8_0}, {0}},
    q2_k[] = {
        {ATTN_V, ALWAYS, DT_Q3_K}, {ATTN_V, SHARED_KV, DT_Q4_K}, {ATTN_OUTPUT, ALWAYS, DT_Q3_K},
        {ATTN_OUTPUT, OF_8_EXPERTS, DT_Q5_K}, {FFN_DOWN, ALWAYS, DT_Q3_K}, {0}},
    q3_k_s[] = {
        {ATTN_OUTPUT, OF_8_EXPERTS, DT_Q5_K}, {0}},
    q3_k_m[] = {
        {ATTN_V, ALWAYS, DT_Q4_K}, {ATTN_V, FIRST_2, DT_Q5_K}, {ATTN_OUTPUT, ALWAYS, DT_Q4_K},
        {ATTN_OUTPUT, OF_8_EXPERTS, DT_Q5_K}, {FFN_DOWN, ALWAYS, DT_Q4_K},
        {FFN_DOWN, FIRST_16TH, DT_Q5_K}, {0}},
    q3_k_l[] = {
        {ATTN_V, ALWAYS, DT_Q5_K}, {ATTN_OUTPUT, ALWAYS, DT_Q5_K},
        {FFN_DOWN, ALWAYS, DT_Q5_K}, {0}},
    q4_k_s[] = {
        {ATTN_V, FIRST_4, DT_Q5_K}, {ATTN_OUTPUT, OF_8_EXPERTS, DT_Q5_K},
        {FFN_DOWN, FIRST_8TH, DT_Q5_K}, {0}},
    q4_k_m[] = {
        {ATTN_V, SOME, DT_Q6_K}, {ATTN_OUTPUT, OF_8_EXPERTS, DT_Q5_K},
        {FFN_DOWN, SOME, DT_Q6_K}, {0}},
    q5_k_m[] = {
        {ATTN_V, SOME, DT_Q6_K}, {FFN_DOWN, SOME, DT_Q6_K}, {0}},
    iq4[] = {
        {ATTN_V, SHARED_KV, DT_Q5_K}, {ATTN_OUTPUT, OF_8_EXPERTS, DT_Q5_K},
        {FFN_DOWN, FIRST_8TH, DT_Q5_K}, {0}},
    ternary[] = {
        {TOKEN_EMBD, ALWAYS, DT_Q4_K}, {0}},
    mxfp4[] = {
        {OUTPUT, ALWAYS, DT_Q8_0}, {TOKEN_EMBD, ALWAYS, DT_Q8_0}, {NO_EXPERT, OF_EXPERTS, DT_Q8_0}, {0}};

static const struct quantize_recipe recipes[] = {
    {"F32",    0,  DT_F32,    NULL},
    {"F16",    1,  DT_F16,    NULL},
    {"BF16",   32, DT_BF16,   NULL},
    {"Q8_0",   7,  DT_Q8_0,   NULL},
    {"Q6_K",   18, DT_Q6_K,   NULL},
    {"Q5_K_M", 17, DT_Q5_K,   q5_k_m},
    {"Q5_K_S", 16, DT_Q5_K,   NULL},
    {"Q4_K_M", 15, DT_Q4_K,   q4_k_m},
    {"Q4_K_S", 14, DT_Q4_K,   q4_k_s},
    {"Q3_K_L", 13, DT_Q3_K,   q3_k_l},
    {"Q3_K_M", 12, DT_Q3_K,   q3_k_m},
    {"Q3_K_S", 11, DT_Q3_K,   q3_k_s},
    {"Q2_K",   10, DT_Q2_K,   q2_k},
    {"IQ4_NL", 25, DT_IQ4_NL, iq4},
    {"IQ4_XS", 30, DT_IQ4_XS, iq4},
    {"Q4_0",   2,  DT_Q4_0,   NULL},
    {"Q4_1",   3,  DT_Q4_1,   NULL},
    {"Q5_0",   8,  DT_Q5_0,   NULL},
    {"Q5_1",   9,  DT_Q5_1,   NULL},
    {"MXFP4",  38, DT_MXFP4,  mxfp4},
    {"TQ1_0",  36, DT_TQ1_0,  ternary},
    {"TQ2_0",  37, DT_TQ2_0,  ternary},
};
static const struct { const char *name, *means; } aliases[] = {
    {"Q3_K", "Q3_K_M"}, {"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"},
};

/* What takes the place of a type whose blocks do not divide the rows: rather more bits than fewer. */
static const struct { enum dtype type, instead; } fallbacks[] = {
    {DT_Q2_K, DT_IQ4_NL}, {DT_Q3_K, DT_IQ4_NL}, {DT_IQ4_XS, DT_IQ4_NL}, {DT_Q4_K, DT_Q5_0},
    {DT_Q5_K, DT_Q5_1},   {DT_Q6_K, DT_Q8_0},   {DT_TQ1_0, DT_Q4_0},    {DT_TQ2_0, DT_Q4_0},
};

/* Matrices by rank that are tables of small numbers to the model: they stay as they are. */
static const char *const as_they_are[] = {
    "_norm", "ffn_gate_inp", "position_embd", "token_types", "ssm_conv1d", "shortconv.conv", "time_mix_",
    "attn_rel_b", "altup", "laurel", "per_layer_model_proj",
};
// clang-format on

static const char *recipe_name_at(const void *ctx, size_t i)
{
    (void)ctx;
    return i < COUNT_OF(recipes) ? recipes[i].name : NULL;
}

status quantize_recipe_find(const struct quantize_recipe **out, const char *name, struct error *e)
{
    enum dtype t;
    const char *means = name;
    for (size_t i = 0; i < COUNT_OF(aliases); i++)
        if (strcasecmp(name, aliases[i].name) == 0) means = aliases[i].means;
    for (size_t i = 0; i < COUNT_OF(recipes); i++)
        if (strcasecmp(means, recipes[i].name) == 0) {
            *out = &recipes[i];
            return OK;
        }
    if (dtype_by_name(name, &t))
        return fail(e, ERR_UNSUPPORTED,
                    "%s cannot be written, only read; corral quantize --help lists the types", name);
    const char *near = opt_nearest(name, recipe_name_at, NULL);
    return fail(e, ERR_ARG, "unknown type '%.40s'%s%s%s", name, near ? "; did you mean " : "",
                near ? near : "; corral quantize --help lists them", near ? "?" : "");
}

/* --- what a tensor is --- */

/* What the rules ask about the model. */
struct traits {
    bool has_output;
    uint32_t n_layer, n_head, n_head_kv, n_expert;
};

static uint32_t model_number(const struct gguf *g, const char *key)
{
    char full[256];
    struct gguf_str arch = {"", 0};
    (void)gguf_get_str(g, "general.architecture", false, &arch, NULL);
    int n = snprintf(full, sizeof full, "%.*s.%s", (int)MIN(arch.n, (size_t)64), arch.p, key);
    const struct gguf_value *v = n < (int)sizeof full ? gguf_find(g, full) : NULL;
    if (!v || v->n == 0 || v->elem == GGUF_STR || v->elem == GGUF_ARR) return 0;
    double d = gguf_number(v, 0); /* of the first layer, where layers differ */
    return d > 0 && d < UINT32_MAX ? (uint32_t)d : 0;
}

static struct traits traits_of(const struct gguf *g)
{
    return (struct traits){
        .has_output = gguf_find_tensor(g, "output.weight") != NULL,
        .n_layer = model_number(g, "block_count"),
        .n_head = model_number(g, "attention.head_count"),
        .n_head_kv = model_number(g, "attention.head_count_kv"),
        .n_expert = model_number(g, "expert_count"),
    };
}

static enum role role_of(const char *name, const struct traits *m)
{
    static const struct {
        const char *part;
        enum role role;
    } row[] = {{".attn_k.", ATTN_K},          {".attn_v.", ATTN_V},           {".attn_qkv.", ATTN_V},
               {".attn_kv_b.", ATTN_V},       {".attn_output.", ATTN_OUTPUT}, {".ffn_down.", FFN_DOWN},
               {".ffn_down_exps.", FFN_DOWN}, {".ffn_down_shexp.", FFN_DOWN}};
    if (strcmp(name, "output.weight") == 0) return OUTPUT;
    if (strcmp(name, "token_embd.weight") == 0) return m->has_output ? TOKEN_EMBD : OUTPUT;
    for (size_t i = 0; i < COUNT_OF(row); i++)
        if (strstr(name, row[i].part)) return row[i].role;
    return ROLE_OTHER;
}

static uint32_t layer_of(const char *name) /* UINT32_MAX: of none */
{
    unsigned layer;
    return sscanf(name, "blk.%9u.", &layer) == 1 ? layer : UINT32_MAX;
}

static bool applies(const struct quantize_rule *r, const struct gguf_tensor *t, const struct traits *m)
{
    uint32_t il = layer_of(t->name), n = m->n_layer;
    enum role role = role_of(t->name, m);
    if (r->role == NO_EXPERT ? t->rank > 2 || role == OUTPUT : r->role != role) return false;
    switch (r->where) {
    case ALWAYS: return true;
    case FIRST_2: return il < 2;
    case FIRST_4: return il < 4;
    case FIRST_16TH: return il < n / 16;
    case FIRST_8TH: return il < n / 8;
    case SOME: return il < n && (il < n / 8 || il >= 7 * (uint64_t)n / 8 || (il - n / 8) % 3 == 2);
    case SHARED_KV: return m->n_head_kv && m->n_head / m->n_head_kv >= 4;
    case OF_8_EXPERTS: return m->n_expert == 8;
    case OF_EXPERTS: return m->n_expert > 0;
    }
    return false;
}

static double bits(enum dtype t)
{
    const struct dtype_info *d = dtype_info((uint32_t)t);
    return 8.0 * d->block_bytes / d->block_elems;
}

static enum dtype most_bits(enum dtype t, const struct quantize_rule *r, const struct gguf_tensor *tensor,
                            const struct traits *m)
{
    for (; r && r->where; r++)
        if (applies(r, tensor, m) && bits(r->type) > bits(t)) t = r->type;
    return t;
}

static bool is_quantized(enum dtype t)
{
    return dtype_info((uint32_t)t)->block_elems > 1;
}

static bool is_matrix(const struct gguf_tensor *t)
{
    size_t n = strlen(t->name);
    if (t->rank < 2 || n < 7 || strcmp(t->name + n - 7, ".weight") != 0) return false;
    for (size_t i = 0; i < COUNT_OF(as_they_are); i++)
        if (strstr(t->name, as_they_are[i])) return false;
    return true;
}

/* The type for a tensor that no --keep names. Vectors become F32: every backend reads them so, and they are
 * small. */
static enum dtype recipe_type(const struct gguf_tensor *t, const struct quantize_choice *c,
                              const struct traits *m)
{
    enum dtype base = c->recipe->base;
    if (base == DT_F32 || t->rank < 2) return DT_F32;
    if (!is_matrix(t)) return t->dtype;
    if (c->pure || !is_quantized(base)) return base;
    return most_bits(most_bits(base, c->recipe->rules, t, m), common, t, m);
}

/* --- the plan --- */

/* Whether text is PATTERN or PATTERN=TYPE with a pattern that fits name: *to is the type, or stays. */
static status keep_matches(const char *text, const char *name, bool *matches, enum dtype *to, struct error *e)
{
    char pattern[256];
    const char *type = strrchr(text, '=');
    size_t n = type ? (size_t)(type - text) : strlen(text);
    enum dtype t = DT_F32;
    if (n == 0 || n >= sizeof pattern)
        return fail(e, ERR_ARG, "--keep %.60s: want PATTERN or PATTERN=TYPE", text);
    if (type && (!dtype_by_name(type + 1, &t) || !dtype_info((uint32_t)t)->encode))
        return fail(e, ERR_ARG, "--keep %.60s: '%.20s' is no type that can be written", text, type + 1);
    memcpy(pattern, text, n);
    pattern[n] = 0;
    *matches = fnmatch(pattern, name, 0) == 0;
    if (*matches && type) *to = t;
    return OK;
}

/* wanted, or what replaces it where rows of n weights are not whole blocks. */
static enum dtype fitting(enum dtype wanted, int64_t n)
{
    enum dtype t = wanted;
    for (size_t i = 0; i < COUNT_OF(fallbacks) && n % dtype_info((uint32_t)t)->block_elems != 0; i++)
        if (fallbacks[i].type == t) t = fallbacks[i].instead;
    return n % dtype_info((uint32_t)t)->block_elems == 0 ? t : DT_F16;
}

static status plan_tensor(struct quantize_tensor *q, const struct quantize_choice *c, const struct traits *m,
                          struct error *e)
{
    const struct gguf_tensor *t = q->from;
    bool named = false;
    q->n = 1;
    for (uint8_t i = 0; i < t->rank; i++)
        q->n *= (uint64_t)t->dim[i]; /* the reader has checked the product */
    q->wanted = t->dtype;
    for (size_t i = 0; c->keep && i < c->keep->n && !named; i++)
        TRY(keep_matches(c->keep->item[i], t->name, &named, &q->wanted, e));
    if (!named && dtype_info((uint32_t)t->dtype)->decode) q->wanted = recipe_type(t, c, m);
    if (q->wanted != t->dtype && !dtype_info((uint32_t)t->dtype)->decode)
        return fail(e, ERR_UNSUPPORTED, "tensor %s is %s, which does not become %s", t->name,
                    dtype_info((uint32_t)t->dtype)->name, dtype_info((uint32_t)q->wanted)->name);
    q->to = q->wanted == t->dtype ? t->dtype : fitting(q->wanted, t->dim[t->rank - 1]);
    if (!dtype_bytes(q->to, (int64_t)q->n, &q->n_bytes))
        return fail(e, ERR_LIMIT, "tensor %s is too large for %s", t->name,
                    dtype_info((uint32_t)q->to)->name);
    return OK;
}

status quantize_plan_init(struct quantize_plan *p, const struct gguf *g, const struct quantize_choice *c,
                          struct error *e)
{
    const struct traits m = traits_of(g);
    p->recipe = c->recipe;
    p->n_tensor = gguf_n_tensors(g);
    if (p->n_tensor == 0) return fail(e, ERR_FORMAT, "%s holds no tensors, only metadata", gguf_path(g));
    p->tensor = mem_zalloc(p->n_tensor, sizeof *p->tensor);
    for (size_t i = 0; i < p->n_tensor; i++) {
        struct quantize_tensor *q = &p->tensor[i];
        q->from = gguf_tensor_at(g, i);
        TRY(plan_tensor(q, c, &m, e));
        p->weights += q->n;
        p->bytes_in += q->from->n_bytes;
        p->bytes_out += q->n_bytes;
        p->n_fallback += q->to != q->wanted;
        p->n_again += q->to != q->from->dtype && q->to != DT_F32 && is_quantized(q->from->dtype);
    }
    return OK;
}

void quantize_plan_deinit(struct quantize_plan *p)
{
    free(p->tensor);
    *p = (struct quantize_plan){0};
}
