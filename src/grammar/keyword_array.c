/* Keywords of arrays. */
#include <string.h>

#include "grammar/keyword.h"

static void assert_min_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->items_min = MAX(c->items_min, keyword_count(s, j, v, "minItems"));
}
static void deny_min_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = keyword_count(s, j, v, "minItems");
    c->types &= n ? T_ARRAY : 0;
    c->items_max = MIN(c->items_max, n - 1);
}
static void assert_max_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    c->items_max = MIN(c->items_max, keyword_count(s, j, v, "maxItems"));
}
static void deny_max_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    int64_t n = keyword_count(s, j, v, "maxItems");
    c->types &= n < INT64_MAX ? T_ARRAY : 0;
    c->items_min = MAX(c->items_min, n < INT64_MAX ? n + 1 : n);
}

/* prefixItems and items of 2020-12, or items and additionalItems of the drafts before. */
static const json_t *prefix_of(const json_t *j)
{
    const json_t *prefix = json_object_get(j, "prefixItems"), *items = json_object_get(j, "items");
    return json_is_array(prefix) ? prefix : json_is_array(items) ? items : NULL;
}
static const json_t *rest_of(const json_t *j)
{
    const json_t *items = json_object_get(j, "items");
    return json_is_array(items) ? json_object_get(j, "additionalItems") : items;
}

static void assert_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const json_t *rest = rest_of(j);
    if (rest && !json_is_object(rest) && !json_is_boolean(rest))
        schema_invalid(s, j, "items is not a schema");
    PREPEND(s, c->arrays, .prefix = prefix_of(j), .rest = rest);
}

/* A word of ours, which says nothing in a client's schema (there its value is not one of ours): contains
 * looks at items from this one on. */
#define FROM "\001from"

static size_t from_of(struct schema *s, const json_t *j)
{
    const json_t *from = json_object_get(j, FROM);
    return from && schema_is_own(s, from) ? (size_t)json_integer_value(from) : 0;
}

static void deny_items(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    struct choice *x = choice_new(s, c);
    const json_t *prefix = prefix_of(j), *rest = rest_of(j);
    size_t n = json_array_size(prefix);
    c->types &= T_ARRAY;
    for (size_t i = 0; i < n; i++) { /* item i exists and is not as it should be */
        json_t *items = json_array();
        for (size_t k = 0; k < i; k++) json_array_append_new(items, json_true());
        json_array_append_new(items, json_pack("{s:O}", "not", json_array_get(prefix, i)));
        branch_add(s, branch_new(s, x),
                   schema_own(s, json_pack("{s:o,s:I}", "prefixItems", items, "minItems", (json_int_t)i + 1)),
                   false);
    }
    if (rest) { /* or some later item is not */
        json_t *from = schema_own(s, json_integer((json_int_t)n));
        json_t *later = json_pack("{s:{s:O},s:O}", "contains", "not", rest, FROM, from);
        branch_add(s, branch_new(s, x), schema_own(s, later), false);
    }
}

static void assert_contains(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const json_t *min = json_object_get(j, "minContains"), *max = json_object_get(j, "maxContains");
    int64_t lo = min ? keyword_count(s, j, min, "minContains") : 1,
            hi = max ? keyword_count(s, j, max, "maxContains") : INT64_MAX;
    if (lo == 0 && hi == INT64_MAX) return;
    if (lo > hi) c->types &= ~(unsigned)T_ARRAY;
    PREPEND(s, c->items, .schema = v, .min = lo, .max = hi, .from = from_of(s, j));
}

static void deny_contains(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const json_t *min = json_object_get(j, "minContains"), *max = json_object_get(j, "maxContains");
    int64_t lo = min ? keyword_count(s, j, min, "minContains") : 1,
            hi = max ? keyword_count(s, j, max, "maxContains") : INT64_MAX;
    struct choice *x = choice_new(s, c);
    c->types &= T_ARRAY;
    if (from_of(s, j)) schema_unsupported(s, j, "a denial of this depth");
    if (lo > 0) {
        json_t *few = lo == 1 ? json_pack("{s:{s:O}}", "items", "not", v)
                              : json_pack("{s:O,s:i,s:I}", "contains", v, "minContains", 0, "maxContains",
                                          (json_int_t)lo - 1);
        branch_add(s, branch_new(s, x), schema_own(s, few), false);
    }
    if (hi < INT64_MAX)
        branch_add(s, branch_new(s, x),
                   schema_own(s, json_pack("{s:O,s:I}", "contains", v, "minContains", (json_int_t)hi + 1)),
                   false);
}

static void assert_unique(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    const json_t *max = json_object_get(j, "maxItems");
    if (json_is_true(v) && !(json_is_integer(max) && json_integer_value(max) <= 1)) c->unique = j;
}
static void deny_unique(struct schema *s, struct conj *c, const json_t *j, const json_t *v)
{
    if (json_is_true(v)) schema_unsupported(s, j, "a denial of uniqueItems");
    c->types = 0;
}

static const struct keyword rows[] = {
    {"prefixItems", assert_items, deny_items},      {"items", assert_items, deny_items},
    {"minItems", assert_min_items, deny_min_items}, {"maxItems", assert_max_items, deny_max_items},
    {"contains", assert_contains, deny_contains},   {"uniqueItems", assert_unique, deny_unique},
};
const struct keyword_rows keywords_array = {rows, COUNT_OF(rows)};
