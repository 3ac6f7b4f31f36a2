/* Files of a model: their names, and which of a repository's make one. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hub/hub_int.h"

/* ---- names ------------------------------------------------------------------------------------------- */

static bool ends(const char *s, const char *with)
{
    size_t n = strlen(s), m = strlen(with);
    return n >= m && !strcasecmp(s + n - m, with);
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool hub_is_gguf(const char *path)
{
    return strlen(base_of(path)) > 5 && ends(path, ".gguf");
}

bool hub_split_part(const char *s, size_t n, uint32_t *part, uint32_t *of)
{
    uint32_t number[2] = {0};
    if (n <= HUB_SPLIT_LENGTH) return false;
    s += n - HUB_SPLIT_LENGTH;
    if (s[0] != '-' || memcmp(s + 6, "-of-", 4) != 0) return false;
    for (int i = 0; i < 10; i++) {
        char c = s[i < 5 ? 1 + i : 5 + i];
        if (!isdigit((unsigned char)c)) return false;
        number[i / 5] = number[i / 5] * 10 + (uint32_t)(c - '0');
    }
    if (part) *part = number[0];
    if (of) *of = number[1];
    return number[0] >= 1 && number[0] <= number[1];
}

bool hub_path_is_safe(const char *path)
{
    if (!*path || strlen(path) > 1024) return false;
    for (const char *p = path;;) {
        size_t n = strcspn(p, "/");
        if (!n || (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.')))) return false;
        for (size_t i = 0; i < n; i++)
            if (iscntrl((unsigned char)p[i]) || p[i] == '\\') return false;
        if (!p[n]) return true;
        p += n + 1;
    }
}

/* ---- a plan's files ---------------------------------------------------------------------------------- */

bool hub_digest_is_good(const char *digest)
{
    static const char hex[] = "0123456789abcdef";
    const char *colon = strchr(digest, ':');
    size_t n = colon ? strlen(colon + 1) : 0;
    if (!colon || strspn(colon + 1, hex) != n) return false;
    return (!strncmp(digest, "sha256:", 7) && n == 64) || (!strncmp(digest, "git:", 4) && n == 40);
}

/* What sources say of sizes can be added up: all files of a model together stay below 2^63. */
#define MAX_FILE_BYTES (UINT64_C(1) << 52)

status hub_plan_add(struct hub_plan *p, const char *path, char *url, uint64_t bytes, const char *digest,
                    struct error *e)
{
    status s = OK;
    if (!hub_path_is_safe(path))
        s = fail(e, ERR_FORMAT, "the source names a file \"%.80s\", which is no name for one", path);
    else if (bytes != HUB_UNKNOWN && bytes > MAX_FILE_BYTES)
        s = fail(e, ERR_FORMAT, "the source says that %.80s has %llu bytes, which no file has", path,
                 (unsigned long long)bytes);
    if (s != OK) {
        free(url);
        return s;
    }
    p->file = mem_realloc(p->file, p->n_file + 1, sizeof *p->file);
    p->file[p->n_file++] =
        (struct hub_file){mem_strdup(path), url, bytes, mem_strdup(hub_digest_is_good(digest) ? digest : "")};
    return OK;
}

static void file_deinit(struct hub_file *f)
{
    free(f->path);
    free(f->url);
    free(f->digest);
}

void hub_plan_deinit(struct hub_plan *p)
{
    for (size_t i = 0; i < p->n_file; i++) file_deinit(&p->file[i]);
    free(p->file);
    free(p->revision);
    free(p->details);
    *p = (struct hub_plan){0};
}

static void keep(struct hub_plan *p, const bool *kept)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n_file; i++) {
        if (kept[i])
            p->file[n++] = p->file[i];
        else
            file_deinit(&p->file[i]);
    }
    p->n_file = n;
}

/* A URL that ends in -00001-of-00005.gguf stands for all five. */
static status add_parts(struct hub_plan *out, const char *url, size_t stem, uint32_t of, const char *name,
                        struct error *e)
{
    status r = OK;
    if (of > HUB_MAX_FILES)
        return fail(e, ERR_LIMIT, "a model of %u files: at most %d can be pulled", of, HUB_MAX_FILES);
    for (uint32_t i = 1; r == OK && i <= of; i++) {
        struct buf to = {0}, file = {0};
        buf_addf(&to, "%.*s-%05u-of-%05u%s", (int)stem, url, i, of, url + stem + HUB_SPLIT_LENGTH);
        buf_addf(&file, "%s-%05u-of-%05u.gguf", name, i, of);
        r = hub_plan_add(out, file.data, to.data, HUB_UNKNOWN, "", e);
        buf_deinit(&file);
    }
    return r;
}

status hub_plan_url(struct hub_plan *out, const char *url, const char *model, struct error *e)
{
    size_t path = strcspn(url, "?");
    char *name = mem_strndup(base_of(model), strcspn(base_of(model), ":"));
    struct buf file = {0};
    uint32_t of = 0;
    status r;
    if (path > 5 && !strncasecmp(url + path - 5, ".gguf", 5) && hub_split_part(url, path - 5, NULL, &of)) {
        r = add_parts(out, url, path - 5 - HUB_SPLIT_LENGTH, of, name, e);
    } else {
        buf_addf(&file, "%s.gguf", name);
        r = hub_plan_add(out, file.data, mem_strdup(url), HUB_UNKNOWN, "", e);
    }
    buf_deinit(&file);
    free(name);
    return r;
}

/* ---- choosing ---------------------------------------------------------------------------------------- */

/* Where tag stands in a file's name as a word of its own: "Q4_K_M" in "model-Q4_K_M.gguf", not "Q4_K" in it.
 */
static bool has_tag(const char *path, const char *tag)
{
    size_t n = strlen(tag);
    for (const char *p = path; *p; p++) {
        if (strncasecmp(p, tag, n) != 0) continue;
        bool before = p == path || !isalnum((unsigned char)p[-1]);
        bool after = !(isalnum((unsigned char)p[n]) || p[n] == '_');
        if (before && after) return true;
    }
    return false;
}

/* Beside models repositories have GGUF files that are none: projectors of images, importance matrices. */
static bool is_model(const char *path)
{
    return hub_is_gguf(path) && !strcasestr(base_of(path), "mmproj") && !strcasestr(base_of(path), "imatrix");
}

/* Good for its size first. */
static const char *const preferred[] = {"Q4_K_M", "Q4_K_S", "Q4_K_XL", "Q4_0",   "MXFP4", "IQ4_XS", "IQ4_NL",
                                        "Q5_K_M", "Q6_K",   "Q8_0",    "Q3_K_M", "BF16",  "F16",    "F32"};

static size_t find_tag(const struct hub_plan *p, const char *tag)
{
    for (size_t i = 0; i < p->n_file; i++)
        if (is_model(p->file[i].path) && has_tag(p->file[i].path, tag)) return i;
    return p->n_file;
}

static size_t find_file(const struct hub_plan *p, const char *file)
{
    for (size_t i = 0; i < p->n_file; i++)
        if (!strcmp(p->file[i].path, file)) return i;
    return p->n_file;
}

/* The GGUF files, for a message. */
static const char *offers(const struct hub_plan *p, char *out, size_t cap)
{
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < p->n_file && n < cap; i++) {
        const char *path = p->file[i].path;
        uint32_t part = 1;
        size_t stem = strlen(path) - 5;
        if (!is_model(path) || (hub_split_part(path, stem, &part, NULL) && part != 1)) continue;
        n += (size_t)snprintf(out + n, cap - n, "%s%s", n ? ", " : "", path);
    }
    return out;
}

/* File i, and if it is a part of a split file, all others, the first one in front. */
static status choose_gguf(struct hub_plan *p, size_t i, struct error *e)
{
    bool *kept = mem_zalloc(p->n_file, sizeof *kept);
    const char *path = p->file[i].path;
    size_t stem = hub_is_gguf(path) ? strlen(path) - 5 : 0, first = i;
    uint32_t of = 1, n_found = 0;
    status s = OK;
    if (!hub_split_part(path, stem, NULL, &of)) {
        kept[i] = true;
        n_found = 1;
    } else {
        for (size_t k = 0; k < p->n_file; k++) {
            uint32_t part, all;
            const char *other = p->file[k].path;
            if (strlen(other) != stem + 5 || memcmp(other, path, stem - HUB_SPLIT_LENGTH) != 0 ||
                !hub_is_gguf(other) || !hub_split_part(other, stem, &part, &all) || all != of)
                continue;
            kept[k] = true;
            n_found++;
            if (part == 1) first = k;
        }
    }
    if (n_found != of)
        s = fail(e, ERR_NOT_FOUND, "%.120s: there are %u of its %u parts", path, n_found, of);
    else if (first != 0) { /* in front: what a model is opened by */
        struct hub_file f = p->file[first];
        p->file[first] = p->file[0];
        p->file[0] = f;
        bool k = kept[first];
        kept[first] = kept[0];
        kept[0] = k;
    }
    if (s == OK) keep(p, kept);
    p->main = 0;
    free(kept);
    return s;
}

/* What a safetensors model consists of beside its weights. */
static bool belongs_to_safetensors(const char *path)
{
    static const char *const name[] = {"config.json",
                                       "generation_config.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.json",
                                       "merges.txt",
                                       "vocab.txt",
                                       "chat_template.jinja",
                                       "chat_template.json",
                                       "preprocessor_config.json",
                                       "tokenizer.model",
                                       "tekken.json",
                                       "model.safetensors.index.json"};
    for (size_t i = 0; i < COUNT_OF(name); i++)
        if (!strcmp(path, name[i])) return true;
    return false;
}

/* The weights: model.safetensors, or its parts when there is an index, else every *.safetensors of the root.
 */
static bool is_weight(const struct hub_plan *p, const char *path, bool whole, bool indexed)
{
    size_t n = strlen(path);
    if (strchr(path, '/') || !ends(path, ".safetensors")) return false;
    if (whole) return !strcmp(path, "model.safetensors");
    return !indexed ||
           (!strncmp(path, "model-", 6) && hub_split_part(path, n - strlen(".safetensors"), NULL, NULL));
}

static status choose_safetensors(struct hub_plan *p, struct error *e)
{
    bool *kept = mem_zalloc(p->n_file, sizeof *kept);
    bool whole = find_file(p, "model.safetensors") < p->n_file;
    bool indexed = find_file(p, "model.safetensors.index.json") < p->n_file;
    size_t config = find_file(p, "config.json"), n_weight = 0;
    status s = OK;
    for (size_t i = 0; i < p->n_file; i++) {
        bool weight = is_weight(p, p->file[i].path, whole, indexed);
        n_weight += weight;
        kept[i] = weight || belongs_to_safetensors(p->file[i].path);
    }
    if (!n_weight)
        s = fail(e, ERR_NOT_FOUND, "there is no model here: neither *.gguf nor *.safetensors");
    else if (config == p->n_file)
        s = fail(e, ERR_NOT_FOUND, "there is no config.json beside the *.safetensors");
    else {
        struct hub_file f = p->file[0];
        p->file[0] = p->file[config];
        p->file[config] = f;
        bool k = kept[0];
        kept[0] = kept[config];
        kept[config] = k;
        keep(p, kept);
        p->folder = true;
    }
    p->main = 0;
    free(kept);
    return s;
}

status hub_choose(struct hub_plan *p, const char *file, const char *tag, struct error *e)
{
    char there[160];
    size_t i = p->n_file;
    if (file) {
        if ((i = find_file(p, file)) == p->n_file)
            return fail(e, ERR_NOT_FOUND, "there is no %.80s; there are: %s", file,
                        offers(p, there, sizeof there));
        return choose_gguf(p, i, e);
    }
    if (tag) {
        if ((i = find_tag(p, tag)) == p->n_file)
            return *offers(p, there, sizeof there)
                       ? fail(e, ERR_NOT_FOUND, "there is no %.40s; there are: %s", tag, there)
                       : fail(e, ERR_NOT_FOUND, "there are no GGUF files, so nothing of quantization %.40s",
                              tag);
        return choose_gguf(p, i, e);
    }
    for (size_t k = 0; k < COUNT_OF(preferred) && i == p->n_file; k++) i = find_tag(p, preferred[k]);
    for (size_t k = 0; k < p->n_file && i == p->n_file; k++)
        if (is_model(p->file[k].path)) i = k;
    return i < p->n_file ? choose_gguf(p, i, e) : choose_safetensors(p, e);
}
