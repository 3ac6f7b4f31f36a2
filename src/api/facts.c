#include "api/facts.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include <openssl/evp.h>

/* general.file_type, numbered as llama.cpp does (enum llama_ftype). */
static const char *const file_types[] = {
    [0] = "F32",     [1] = "F16",     [2] = "Q4_0",     [3] = "Q4_1",    [7] = "Q8_0",     [8] = "Q5_0",
    [9] = "Q5_1",    [10] = "Q2_K",   [11] = "Q3_K_S",  [12] = "Q3_K_M", [13] = "Q3_K_L",  [14] = "Q4_K_S",
    [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M",  [18] = "Q6_K",   [19] = "IQ2_XXS", [20] = "IQ2_XS",
    [21] = "Q2_K_S", [22] = "IQ3_XS", [23] = "IQ3_XXS", [24] = "IQ1_S",  [25] = "IQ4_NL",  [26] = "IQ3_S",
    [27] = "IQ3_M",  [28] = "IQ2_S",  [29] = "IQ2_M",   [30] = "IQ4_XS", [31] = "IQ1_M",   [32] = "BF16",
    [36] = "TQ1_0",  [37] = "TQ2_0",  [38] = "MXFP4",
};

/* The type that most bytes of weights have. */
static const char *commonest_type(const struct gguf *g)
{
    const char *best = "unknown";
    size_t most = 0;
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        enum dtype t = gguf_tensor_at(g, i)->dtype;
        size_t bytes = 0;
        for (size_t k = 0; k < gguf_n_tensors(g); k++)
            if (gguf_tensor_at(g, k)->dtype == t) bytes += gguf_tensor_at(g, k)->n_bytes;
        if (bytes <= most) continue;
        most = bytes;
        best = dtype_info(t)->name;
    }
    return best;
}

static void set_quantization(struct model_facts *f)
{
    uint32_t type = UINT32_MAX;
    const char *name = NULL;
    if (gguf_get_u32(f->gguf, "general.file_type", false, &type, NULL) == OK && type < COUNT_OF(file_types))
        name = file_types[type];
    if (!name) name = commonest_type(f->gguf);
    for (size_t i = 0; name[i] && i < sizeof f->quantization - 1; i++)
        f->quantization[i] = (char)toupper((unsigned char)name[i]);
}

static void set_size(struct model_facts *f)
{
    double n = (double)f->n_param;
    if (n >= 1e9)
        snprintf(f->size, sizeof f->size, "%.1fB", n / 1e9);
    else if (n >= 1e6)
        snprintf(f->size, sizeof f->size, "%.2fM", n / 1e6);
    else
        snprintf(f->size, sizeof f->size, "%.0fK", n / 1e3);
}

static void set_digest(struct model_facts *f)
{
    enum { SAMPLE = 4096 };
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL)) goto out;
    for (size_t i = 0; i < gguf_n_values(f->gguf); i++) {
        const struct gguf_value *v = gguf_value_at(f->gguf, i);
        EVP_DigestUpdate(md, v->key, strlen(v->key) + 1);
        for (uint64_t k = 0; v->str && k < v->n; k++) EVP_DigestUpdate(md, v->str[k].p, v->str[k].n);
        for (uint64_t k = 0; !v->str && k < v->n; k++) {
            double number = gguf_number(v, k);
            EVP_DigestUpdate(md, &number, sizeof number);
        }
    }
    for (size_t i = 0; i < gguf_n_tensors(f->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f->gguf, i);
        EVP_DigestUpdate(md, t->name, strlen(t->name) + 1);
        EVP_DigestUpdate(md, t->dim, sizeof t->dim[0] * t->rank);
        if (t->data) EVP_DigestUpdate(md, t->data, MIN(t->n_bytes, (size_t)SAMPLE));
    }
    EVP_DigestFinal_ex(md, sum, &n);
out:
    EVP_MD_CTX_free(md);
    for (unsigned i = 0; i < 32; i++) snprintf(f->digest + 2 * i, 3, "%02x", i < n ? sum[i] : 0);
}

static uint32_t arch_u32(const struct model_facts *f, const char *what)
{
    char key[128];
    uint32_t n = 0;
    snprintf(key, sizeof key, "%s.%s", f->arch, what);
    return gguf_get_u32(f->gguf, key, false, &n, NULL) == OK ? n : 0;
}

void facts_read(struct model_facts *f, const struct gguf *g)
{
    struct gguf_str arch = {0};
    struct stat st;
    *f = (struct model_facts){.gguf = g, .arch = "unknown", .size = "0K", .quantization = "unknown"};
    f->modified = (int64_t)time(NULL);
    memset(f->digest, '0', 64);
    if (!g) return;
    f->quantization[0] = 0;
    memset(f->quantization, 0, sizeof f->quantization);
    if (gguf_get_str(g, "general.architecture", true, &arch, NULL) == OK)
        snprintf(f->arch, sizeof f->arch, "%.*s", (int)MIN(arch.n, sizeof f->arch - 1), arch.p);
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        uint64_t n = 1;
        for (uint8_t k = 0; k < t->rank; k++) n *= (uint64_t)t->dim[k]; /* gguf_open checked it */
        f->n_param += n;
    }
    const struct gguf_value *tokens = gguf_find(g, "tokenizer.ggml.tokens");
    f->n_vocab = tokens ? (uint32_t)tokens->n : 0;
    f->n_ctx_train = arch_u32(f, "context_length");
    f->n_embd = arch_u32(f, "embedding_length");
    f->file_bytes = gguf_file_bytes(g);
    if (stat(gguf_path(g), &st) == 0) f->modified = (int64_t)st.st_mtime;
    set_quantization(f);
    set_size(f);
    set_digest(f);
}

/* ---- as JSON ----------------------------------------------------------------------------------------- */

static void add_element(const struct gguf_value *v, uint64_t i, struct buf *out)
{
    if (v->str)
        buf_json_str(out, v->str[i].p, v->str[i].n);
    else if (v->elem == GGUF_BOOL)
        buf_adds(out, gguf_integer(v, i) ? "true" : "false");
    else if (v->elem == GGUF_F32 || v->elem == GGUF_F64)
        buf_json_double(out, gguf_number(v, i));
    else if (v->elem == GGUF_U64)
        buf_addf(out, "%llu", (unsigned long long)gguf_integer(v, i));
    else
        buf_addf(out, "%lld", (long long)gguf_integer(v, i));
}

static void add_value(const struct gguf_value *v, bool all, struct buf *out)
{
    if (v->type != GGUF_ARR) {
        add_element(v, 0, out);
        return;
    }
    if (!all) {
        buf_adds(out, "null");
        return;
    }
    buf_addc(out, '[');
    for (uint64_t i = 0; i < v->n && !out->failed; i++) {
        if (i) buf_addc(out, ',');
        add_element(v, i, out);
    }
    buf_addc(out, ']');
}

void facts_metadata(const struct model_facts *f, bool all, struct buf *out)
{
    buf_adds(out, "{\"general.parameter_count\":");
    buf_addf(out, "%llu", (unsigned long long)f->n_param);
    for (size_t i = 0; f->gguf && i < gguf_n_values(f->gguf); i++) {
        const struct gguf_value *v = gguf_value_at(f->gguf, i);
        if (!strcmp(v->key, "general.parameter_count") || !strcmp(v->key, "tokenizer.chat_template"))
            continue;
        buf_addc(out, ',');
        buf_json_str(out, v->key, strlen(v->key));
        buf_addc(out, ':');
        add_value(v, all, out);
    }
    buf_addc(out, '}');
}

void facts_tensors(const struct model_facts *f, struct buf *out)
{
    buf_addc(out, '[');
    for (size_t i = 0; f->gguf && i < gguf_n_tensors(f->gguf); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f->gguf, i);
        buf_adds(out, i ? ",{\"name\":" : "{\"name\":");
        buf_json_str(out, t->name, strlen(t->name));
        buf_addf(out, ",\"type\":\"%s\",\"shape\":[", dtype_info(t->dtype)->name);
        for (uint8_t k = 0; k < t->rank; k++) buf_addf(out, k ? ",%lld" : "%lld", (long long)t->dim[k]);
        buf_adds(out, "]}");
    }
    buf_addc(out, ']');
}
