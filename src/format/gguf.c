/* Opening a model file: one image, or all parts of a split one as if they were one; lookup by name. */
#include "format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf_int.h"

struct gguf {
    char *path;
    struct image *part; /* part[0] holds the metadata */
    uint32_t n_part;
    size_t n_bytes;
    struct arena arena;

    struct gguf_value *value;
    size_t n_value;
    struct gguf_tensor *tensor; /* of all parts, in order */
    size_t n_tensor;
    struct names by_key, by_name;
};

/* --- parts --- */

static status part_open(struct gguf *g, struct image *img, const char *path, bool meta_only, struct error *e)
{
    TRY(map_open(&img->map, path, e));
    img->data = img->map.data;
    img->n = img->map.n;
    if (image_parse(img, &g->arena, meta_only, e) == OK) return OK;
    size_t n = strlen(path);
    return n <= 120 ? fail_in(e, "%s", path) : fail_in(e, "...%s", path + n - 117);
}

/* "-00002-of-00003.gguf" at the end of a path: where it begins, and the two numbers. */
static bool split_suffix(const char *path, size_t *at, unsigned *no, unsigned *count)
{
    static const char pattern[] = "-NNNNN-of-NNNNN.gguf";
    size_t n = strlen(path), k = sizeof pattern - 1;
    if (n < k) return false;
    const char *s = path + n - k;
    for (size_t i = 0; i < k; i++)
        if (pattern[i] == 'N' ? s[i] < '0' || s[i] > '9' : s[i] != pattern[i]) return false;
    *at = n - k;
    *no = (unsigned)strtoul(s + 1, NULL, 10);
    *count = (unsigned)strtoul(s + 10, NULL, 10);
    return true;
}

static status check_part(const struct image *img, const char *path, uint32_t no, const struct image *first,
                         struct error *e)
{
    if (img->split_count != first->split_count)
        return fail(e, ERR_FORMAT, "%s: says it is one of %u parts, the others say %u", path,
                    img->split_count, first->split_count);
    if (img->split_no != no)
        return fail(e, ERR_FORMAT, "%s: split.no is %u, its name says %u (counted from 0)", path,
                    img->split_no, no);
    return OK;
}

/* g->part[0] is the part that was named; open its siblings and put it where it belongs. */
static status open_siblings(struct gguf *g, bool meta_only, struct error *e)
{
    struct image given = g->part[0], *part;
    size_t at;
    unsigned no, count;
    if (!split_suffix(g->path, &at, &no, &count))
        return fail(e, ERR_FORMAT,
                    "%s: holds part %u of %u, but is not named NAME-%05u-of-%05u.gguf, so the other parts "
                    "cannot be found",
                    g->path, given.split_no + 1, given.split_count, given.split_no + 1, given.split_count);
    if (count != given.split_count || no != given.split_no + 1)
        return fail(e, ERR_FORMAT, "%s: is named part %u of %u, its metadata says part %u of %u", g->path, no,
                    count, given.split_no + 1, given.split_count);
    part = mem_try(count, sizeof *part);
    if (!part) return fail(e, ERR_MEMORY, "%s: out of memory for %u parts", g->path, count);
    free(g->part);
    g->part = part;
    g->n_part = count;
    part[no - 1] = given;
    size_t n = at + 32;
    char *path = mem_alloc(n);
    memcpy(path, g->path, at);
    status s = OK;
    for (uint32_t i = 0; i < count && s == OK; i++) {
        if (i == no - 1) continue;
        snprintf(path + at, n - at, "-%05u-of-%05u.gguf", i + 1, count);
        s = part_open(g, &part[i], path, meta_only, e);
        if (s == ERR_NOT_FOUND) s = fail(e, s, "%s: part %u of %u is missing", path, i + 1, count);
        if (s == OK) s = check_part(&part[i], path, i, &given, e);
    }
    free(path);
    return s;
}

/* One list of tensors from all parts. */
static status join_tensors(struct gguf *g, struct error *e)
{
    size_t n = 0;
    for (uint32_t i = 0; i < g->n_part; i++) {
        n += g->part[i].n_tensor;
        g->n_bytes += g->part[i].n;
    }
    int64_t want = g->part[0].split_tensors;
    if (g->part[0].split_count && want >= 0 && (uint64_t)want != n && g->n_part == g->part[0].split_count)
        return fail(e, ERR_FORMAT, "split.tensors.count is %lld, the parts hold %zu tensors", (long long)want,
                    n);
    if (n > GGUF_MAX_TENSORS)
        return fail(e, ERR_LIMIT, "%zu tensors in all parts, at most %d are read", n, GGUF_MAX_TENSORS);
    g->tensor = mem_try(n, sizeof *g->tensor);
    if (!g->tensor) return fail(e, ERR_MEMORY, "out of memory for %zu tensors", n);
    for (uint32_t i = 0; i < g->n_part; i++) {
        struct image *p = &g->part[i];
        if (p->n_tensor) memcpy(g->tensor + g->n_tensor, p->tensor, p->n_tensor * sizeof *g->tensor);
        g->n_tensor += p->n_tensor;
        free(p->tensor);
        p->tensor = NULL;
    }
    return OK;
}

/* --- metadata --- */

static status index_values(struct gguf *g, struct error *e)
{
    size_t dup;
    names_free(&g->by_key);
    status s = names_build(&g->by_key, g->value ? &g->value->key : NULL, sizeof *g->value, g->n_value, &dup);
    if (s == ERR_MEMORY) return fail(e, s, "out of memory for %zu metadata values", g->n_value);
    if (s != OK)
        return fail(e, s, "metadata %s is there twice",
                    gguf_show(g->value[dup].key, strlen(g->value[dup].key)).s);
    return OK;
}

static status index_tensors(struct gguf *g, struct error *e)
{
    size_t dup;
    status s = names_build(&g->by_name, &g->tensor->name, sizeof *g->tensor, g->n_tensor, &dup);
    if (s == ERR_MEMORY) return fail(e, s, "out of memory for %zu tensors", g->n_tensor);
    if (s != OK)
        return fail(e, s, "tensor %s is there twice",
                    gguf_show(g->tensor[dup].name, strlen(g->tensor[dup].name)).s);
    return OK;
}

static bool describes_layout(const char *key)
{
    return strcmp(key, "general.alignment") == 0 || strncmp(key, "split.", 6) == 0;
}

static struct gguf_value *find_value(const struct gguf *g, const char *key)
{
    for (size_t i = 0; i < g->n_value; i++)
        if (strcmp(g->value[i].key, key) == 0) return &g->value[i];
    return NULL;
}

static status apply_set(struct gguf *g, const struct gguf_options *o, struct error *e)
{
    if (!o || o->n_set == 0) return OK;
    struct gguf_value *v = realloc(g->value, (g->n_value + o->n_set) * sizeof *v);
    if (!v) return fail(e, ERR_MEMORY, "out of memory for %zu overrides", o->n_set);
    g->value = v;
    for (size_t i = 0; i < o->n_set; i++) {
        struct gguf_value value;
        TRY(gguf_parse_set(&value, o->set[i], &g->arena, e));
        if (describes_layout(value.key))
            return fail(e, ERR_ARG, "--set %s: describes how the file is laid out and cannot be changed",
                        gguf_show(value.key, strlen(value.key)).s);
        struct gguf_value *old = find_value(g, value.key);
        if (old)
            *old = value;
        else
            g->value[g->n_value++] = value;
    }
    return index_values(g, e);
}

/* After the parts are parsed: join them, index them, apply overrides. */
static status finish(struct gguf *g, const struct gguf_options *o, struct error *e)
{
    g->value = g->part[0].value;
    g->n_value = g->part[0].n_value;
    g->part[0].value = NULL;
    TRY(join_tensors(g, e));
    TRY(index_values(g, e));
    return index_tensors(g, e);
}

/* --- the interface --- */

static struct gguf *new_gguf(const char *path)
{
    struct gguf *g = mem_zalloc(1, sizeof *g);
    g->path = mem_strdup(path);
    g->part = mem_zalloc(1, sizeof *g->part);
    g->n_part = 1;
    return g;
}

status gguf_open(struct gguf **out, const char *path, const struct gguf_options *options, struct error *e)
{
    struct error mine;
    struct gguf *g = new_gguf(path);
    bool meta_only = options && options->meta_only;
    status s;
    *out = NULL;
    if (!e) e = &mine;
    s = part_open(g, g->part, path, meta_only, e);
    if (s != OK) goto out;
    if (g->part->split_count > 1) {
        s = open_siblings(g, meta_only, e);
        if (s != OK) goto out;
    }
    s = finish(g, options, e);
    if (s != OK) {
        s = fail_in(e, "%.120s", path);
        goto out;
    }
    s = apply_set(g, options, e);
out:
    if (s == OK)
        *out = g;
    else
        gguf_close(g);
    return s;
}

status gguf_open_memory(struct gguf **out, const void *data, size_t n, const struct gguf_options *options,
                        struct error *e)
{
    struct error mine;
    struct gguf *g = new_gguf(options && options->name ? options->name : "(memory)");
    status s;
    *out = NULL;
    if (!e) e = &mine;
    g->part->data = data;
    g->part->n = n;
    s = image_parse(g->part, &g->arena, options && options->meta_only, e);
    if (s == OK && g->part->split_count > 1)
        s = fail(e, ERR_UNSUPPORTED, "this is part %u of %u of a split file: open it by its path",
                 g->part->split_no + 1, g->part->split_count);
    if (s == OK) s = finish(g, options, e);
    if (s == OK) s = apply_set(g, options, e);
    if (s == OK)
        *out = g;
    else
        gguf_close(g);
    return s;
}

void gguf_close(struct gguf *g)
{
    if (!g) return;
    for (uint32_t i = 0; i < g->n_part; i++) image_free(&g->part[i]);
    names_free(&g->by_key);
    names_free(&g->by_name);
    arena_free(&g->arena);
    free(g->value);
    free(g->tensor);
    free(g->part);
    free(g->path);
    free(g);
}

const char *gguf_path(const struct gguf *g)
{
    return g->path;
}
size_t gguf_file_bytes(const struct gguf *g)
{
    return g->n_bytes;
}
size_t gguf_n_values(const struct gguf *g)
{
    return g->n_value;
}
size_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensor;
}
const struct gguf_value *gguf_value_at(const struct gguf *g, size_t i)
{
    ASSERT(i < g->n_value);
    return &g->value[i];
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, size_t i)
{
    ASSERT(i < g->n_tensor);
    return &g->tensor[i];
}

const struct gguf_value *gguf_find(const struct gguf *g, const char *key)
{
    size_t i = names_find(&g->by_key, g->value, sizeof *g->value, key);
    return i == SIZE_MAX ? NULL : &g->value[i];
}

const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name)
{
    size_t i = names_find(&g->by_name, g->tensor, sizeof *g->tensor, name);
    return i == SIZE_MAX ? NULL : &g->tensor[i];
}
