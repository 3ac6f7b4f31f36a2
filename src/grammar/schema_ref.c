/* $ref: identifiers, anchors and JSON pointers within one document. Nothing is fetched. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "grammar/schema.h"

static const char *string_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static char *join(struct build *b, const char *x, size_t n, const char *y)
{
    char *p = build_alloc(b, n + strlen(y) + 1, 1);
    memcpy(p, x, n);
    memcpy(p + n, y, strlen(y));
    return p;
}

static bool has_scheme(const char *r)
{
    size_t n = strspn(r, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-");
    return n && r[n] == ':';
}

/* The reference r against base (RFC 3986, 5.2, without dot segments), both without fragment in mind. */
static const char *against(struct build *b, const char *base, const char *r)
{
    size_t n = strcspn(base, "#");
    if (has_scheme(r)) return r;
    if (!*r || *r == '#') return join(b, base, n, r);
    const char *authority = strstr(base, "://"), *path = authority ? strchr(authority + 3, '/') : NULL;
    if (*r == '/') return join(b, base, path ? (size_t)(path - base) : n, r);
    while (n && base[n - 1] != '/' && base[n - 1] != ':') n--;
    return join(b, base, n, r);
}

static void add_resource(struct schema *s, const char *uri, const json_t *j)
{
    struct resource *r = build_alloc(s->b, 1, sizeof *r);
    size_t n = strlen(uri);
    if (n && uri[n - 1] == '#') n--; /* an empty fragment means nothing */
    *r = (struct resource){build_strndup(s->b, uri, n), j, s->resources};
    s->resources = r;
}

/* What a part of the document is: identifiers count only where a schema stands, not in what an unknown
 * keyword holds. */
enum part { PART_SCHEMA, PART_MAP, PART_UNKNOWN };

static enum part part_of(enum part in, const char *key)
{
    static const char *const maps[] = {"properties",  "patternProperties", "$defs",
                                       "definitions", "dependentSchemas",  "dependencies"};
    static const char *const schemas[] = {"items",
                                          "prefixItems",
                                          "additionalItems",
                                          "additionalProperties",
                                          "propertyNames",
                                          "contains",
                                          "allOf",
                                          "anyOf",
                                          "oneOf",
                                          "not",
                                          "if",
                                          "then",
                                          "else",
                                          "unevaluatedItems",
                                          "unevaluatedProperties",
                                          "contentSchema"};
    if (in != PART_SCHEMA) return in == PART_MAP ? PART_SCHEMA : PART_UNKNOWN;
    for (size_t i = 0; i < COUNT_OF(maps); i++)
        if (strcmp(key, maps[i]) == 0) return PART_MAP;
    for (size_t i = 0; i < COUNT_OF(schemas); i++)
        if (strcmp(key, schemas[i]) == 0) return PART_SCHEMA;
    return PART_UNKNOWN;
}

static void index_schema(struct schema *s, const json_t *j, const char *base, enum part part, int depth)
{
    const char *key, *id;
    json_t *v;
    size_t i;
    if (depth > 200) build_fail(s->b, ERR_LIMIT, "the schema nests deeper than 200");
    build_work(s->b, 1);
    if (json_is_array(j)) json_array_foreach((json_t *)j, i, v) index_schema(s, v, base, part, depth + 1);
    if (!json_is_object(j)) return;
    id = string_of(j, "$id");
    if (!id) id = string_of(j, "id");
    if (part != PART_SCHEMA) id = NULL;
    if (id && !(s->ref_alone && json_object_get(j, "$ref"))) {
        const char *own = against(s->b, base, id);
        add_resource(s, own, j);
        if (*id != '#') base = build_strndup(s->b, own, strcspn(own, "#"));
    }
    for (int k = 0; k < 2; k++) {
        const char *anchor = string_of(j, k ? "$dynamicAnchor" : "$anchor");
        if (anchor && part == PART_SCHEMA)
            add_resource(s, join(s->b, base, strlen(base), join(s->b, "#", 1, anchor)), j);
    }
    if (*base && (string_of(j, "$ref") || string_of(j, "$dynamicRef"))) {
        s->base = build_grow(s->b, s->base, s->n_base, &s->cap_base, sizeof *s->base);
        s->base[s->n_base++] = (struct base){j, base};
    }
    json_object_foreach((json_t *)j, key, v) if (strcmp(key, "enum") != 0 && strcmp(key, "const") != 0 &&
                                                 strcmp(key, "default") != 0 && strcmp(key, "examples") != 0)
        index_schema(s, v, base, part_of(part, key), depth + 1);
}

static int by_schema(const void *x, const void *y)
{
    const struct base *a = x, *b = y;
    return (uintptr_t)a->schema < (uintptr_t)b->schema ? -1 : a->schema != b->schema;
}

void schema_index(struct schema *s)
{
    const char *draft = string_of(s->root, "$schema");
    s->ref_alone =
        draft && (strstr(draft, "draft-03") || strstr(draft, "draft-04") || strstr(draft, "draft-05") ||
                  strstr(draft, "draft-06") || strstr(draft, "draft-07"));
    index_schema(s, s->root, "", PART_SCHEMA, 0);
    if (s->n_base) qsort(s->base, s->n_base, sizeof *s->base, by_schema);
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Percent and tilde escapes of one step of a pointer undone, in place. */
static size_t unescape(char *p, size_t n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++, k++) {
        int hi = p[i] == '%' && i + 2 < n ? hex_value(p[i + 1]) : -1, lo = hi >= 0 ? hex_value(p[i + 2]) : -1;
        p[k] = p[i];
        if (lo >= 0) {
            p[k] = (char)(hi * 16 + lo);
            i += 2;
        }
    }
    n = k;
    k = 0;
    for (size_t i = 0; i < n; i++, k++) {
        p[k] = p[i];
        if (p[i] == '~' && i + 1 < n && (p[i + 1] == '0' || p[i + 1] == '1'))
            p[k] = p[++i] == '0' ? '~' : '/';
    }
    p[k] = 0;
    return k;
}

static const json_t *follow(struct build *b, const json_t *j, const char *pointer)
{
    while (j && *pointer == '/') {
        size_t n = strcspn(++pointer, "/");
        char *step = build_strndup(b, pointer, n);
        pointer += n;
        n = unescape(step, n);
        if (json_is_array(j))
            j = n && strspn(step, "0123456789") == n ? json_array_get(j, strtoul(step, NULL, 10)) : NULL;
        else
            j = json_object_getn(j, step, n);
    }
    return j && !*pointer ? j : NULL;
}

static const json_t *find_resource(const struct schema *s, const char *uri, size_t n)
{
    const json_t *found = NULL;
    for (const struct resource *r = s->resources; r; r = r->next)
        if (strlen(r->uri) == n && memcmp(r->uri, uri, n) == 0)
            found = r->schema; /* the first in the document */
    return found;
}

const json_t *schema_resolve(struct schema *s, const json_t *at, const char *ref)
{
    struct base key = {.schema = at},
                *base = s->n_base ? bsearch(&key, s->base, s->n_base, sizeof key, by_schema) : NULL;
    const char *uri = against(s->b, base ? base->uri : "", ref);
    size_t n = strcspn(uri, "#");
    const char *fragment = uri[n] == '#' ? uri + n + 1 : "";
    const json_t *found = NULL, *document = find_resource(s, uri, n);
    if (!document && (n == 0 || (*ref == '#' && !base))) document = s->root;
    if (*fragment && *fragment != '/') found = find_resource(s, uri, strlen(uri));
    if (!found && document && (!*fragment || *fragment == '/')) found = follow(s->b, document, fragment);
    if (!found && *ref == '#' && (!ref[1] || ref[1] == '/')) found = follow(s->b, s->root, ref + 1);
    s->b->at = at;
    if (!found)
        build_fail(s->b, ERR_UNSUPPORTED,
                   "$ref \"%.100s\" points to nothing in this document (nothing is fetched)", ref);
    return found;
}
