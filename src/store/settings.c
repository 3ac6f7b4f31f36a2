/* Options of a name: a table of rows, by which JSON is checked and read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/store_int.h"

enum kind { COUNT, TEXT, CHOICE, DURATION, FLAG, TEXTS, FIELDS, WEIGHTS, KINDS };

static const char *const kind_name[KINDS] = {
    [COUNT] = "number",       [TEXT] = "text",
    [CHOICE] = "text",        [DURATION] = "seconds or a text like 5m",
    [FLAG] = "true or false", [TEXTS] = "list of texts",
    [FIELDS] = "object",      [WEIGHTS] = "object of numbers",
};

struct row {
    struct store_option option;
    enum kind kind;
    size_t at; /* in struct store_settings */
    int64_t min, max;
    const char *choices; /* of a CHOICE: "a|b|c" */
};

#define AT(field) offsetof(struct store_settings, field)
#define BALANCES  "round-robin|least-loaded|adaptive|prefix"
// clang-format off
static const struct row rows[] = {
    {{"context", "longest sequence in tokens"}, COUNT, AT(context), 1, 1 << 24, NULL},
    {{"parallel", "sequences at once"}, COUNT, AT(parallel), 1, 4096, NULL},
    {{"kv_type", "numbers in the KV cache"}, CHOICE, AT(kv_type), 0, 0, "f16|f32|q8_0|bf16|fp8"},
    {{"kv_bytes", "memory for the KV cache"}, COUNT, AT(kv_bytes), 1, 1LL << 50, NULL},
    {{"backend", "what computes: see corral doctor"}, TEXT, AT(backend), 0, 32, NULL},
    {{"threads", "threads of the CPU backend"}, COUNT, AT(threads), 1, 1024, NULL},
    {{"mmap", "false: weights are read to memory of their own, not used in the mapped file"}, FLAG, AT(mmap), 0, 0, NULL},
    {{"mlock", "weights are locked in the host's memory"}, FLAG, AT(mlock), 0, 0, NULL},
    {{"gpus", "UUIDs of the GPUs that it may use"}, TEXTS, AT(gpus), 1, 64, NULL},
    {{"max_devices", "GPUs that it may be divided among"}, COUNT, AT(max_devices), 1, 64, NULL},
    {{"allow_cpu", "false: refused rather than run, or partly run, on the CPU"}, FLAG, AT(allow_cpu), 0, 0, NULL},
    {{"strategy", "how it is placed on GPUs"}, CHOICE, AT(strategy), 0, 0, "single-gpu-preferred|spread|pack|manual"},
    {{"keep_alive", "how long it stays loaded when nobody uses it; -1: for ever"}, DURATION, AT(keep_alive_ms), 0, 0, NULL},
    {{"pinned", "never unloaded to make room for another"}, FLAG, AT(pinned), 0, 0, NULL},
    {{"preload", "loaded when the server starts"}, FLAG, AT(preload), 0, 0, NULL},
    {{"replicas", "workers side by side"}, COUNT, AT(replicas), 1, 64, NULL},
    {{"concurrency", "requests at once; others wait"}, COUNT, AT(concurrency), 1, 100000, NULL},
    {{"balance", "which of several workers gets a request"}, CHOICE, AT(balance), 0, 0, BALANCES},
    {{"split", "names and weights: requests go to these instead"}, WEIGHTS, AT(split), 1, 16, NULL},
    {{"fallbacks", "names to try when this one fails"}, TEXTS, AT(fallbacks), 1, 16, NULL},
    {{"upstreams", "URLs of other servers that have it"}, TEXTS, AT(upstreams), 1, 64, NULL},
    {{"upstream_key", "API key for those"}, TEXT, AT(upstream_key), 0, 4096, NULL},
    {{"draft", "a small model that drafts for it"}, TEXT, AT(draft), 0, 1024, NULL},
    {{"chat_template", "a file, or chatml: the chat template in place of the model's own"}, TEXT, AT(chat_template), 0, 4000, NULL},
    {{"system", "system prompt for conversations that have none"}, TEXT, AT(system), 0, 1 << 17, NULL},
    {{"defaults", "fields and values for requests that do not say"}, FIELDS, AT(defaults), 0, 64, NULL},
    {{"set", "fields and values for every request"}, FIELDS, AT(set), 0, 64, NULL},
    {{"strip", "fields that are taken out of requests"}, TEXTS, AT(strip), 1, 64, NULL},
};
// clang-format on

const struct store_option *store_option_at(size_t i)
{
    return i < COUNT_OF(rows) ? &rows[i].option : NULL;
}

/* ---- values ------------------------------------------------------------------------------------------ */

/* "5m", "1h30m", "90", "-1"; false: none of these. Units as in Go, and d for days. */
static bool read_duration(const char *text, int64_t *out_ms)
{
    static const struct {
        const char *unit;
        double ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
    double sum = 0;
    bool negative = *text == '-';
    if (negative) text++;
    if (!*text) return false;
    while (*text) {
        char *end;
        if (*text < '0' || *text > '9') return false;
        double n = strtod(text, &end), ms = 0;
        size_t k = strspn(end, "abcdefghijklmnopqrstuvwxyz");
        for (size_t i = 0; i < COUNT_OF(units); i++)
            if (strlen(units[i].unit) == k && !memcmp(units[i].unit, end, k)) ms = units[i].ms;
        if (k == 0 && !*end) ms = 1000; /* a bare number is seconds */
        if (ms == 0) return false;
        sum += n * ms;
        text = end + k;
    }
    if (!(sum < 1e15)) return false;
    *out_ms = negative ? -1 : (int64_t)sum;
    return true;
}

static bool is_choice(const char *choices, const char *text)
{
    size_t n = strlen(text), k;
    for (const char *p = choices; n; p += k + 1) {
        k = strcspn(p, "|");
        if (k == n && !memcmp(p, text, n)) return true;
        if (!p[k]) break;
    }
    return false;
}

static bool are_texts(const json_t *v)
{
    size_t i;
    const json_t *one;
    if (!json_is_array(v)) return false;
    json_array_foreach(v, i, one) if (!json_is_string(one) || !json_string_length(one)) return false;
    return true;
}

static bool are_weights(const json_t *v)
{
    const char *key;
    json_t *one;
    double sum = 0;
    if (!json_is_object(v)) return false;
    json_object_foreach((json_t *)v, key, one)
    {
        double w = json_number_value(one);
        if (!json_is_number(one) || !(w >= 0 && w <= 1e9)) return false;
        sum += w;
    }
    return sum > 0;
}

static status wrong(const struct row *r, struct error *e)
{
    return fail(e, ERR_ARG, "option %s: a %s is wanted", r->option.name, kind_name[r->kind]);
}

static status read_count(const struct row *r, const json_t *v, int64_t *out, struct error *e)
{
    if (!json_is_integer(v)) return wrong(r, e);
    *out = json_integer_value(v);
    if (*out >= r->min && *out <= r->max) return OK;
    return fail(e, ERR_ARG, "option %s: %lld is not between %lld and %lld", r->option.name, (long long)*out,
                (long long)r->min, (long long)r->max);
}

static status read_text(const struct row *r, const json_t *v, const char **out, struct error *e)
{
    *out = json_string_value(v);
    if (!*out) return wrong(r, e);
    if (strlen(*out) != json_string_length(v) || (r->max && (int64_t)json_string_length(v) > r->max))
        return fail(e, ERR_ARG, "option %s: at most %lld characters, and no NUL", r->option.name,
                    (long long)r->max);
    if (r->choices && !is_choice(r->choices, *out))
        return fail(e, ERR_ARG, "option %s: '%.40s' is none of %s", r->option.name, *out, r->choices);
    return OK;
}

static status read_keep_alive(const struct row *r, const json_t *v, int64_t *out, struct error *e)
{
    double n = json_number_value(v);
    if (json_is_number(v) && n < 1e12) {
        *out = n < 0 ? -1 : (int64_t)(n * 1000);
        return OK;
    }
    return json_is_string(v) && read_duration(json_string_value(v), out) ? OK : wrong(r, e);
}

static status read_many(const struct row *r, const json_t *v, const json_t **out, struct error *e)
{
    bool good = r->kind == TEXTS ? are_texts(v) : r->kind == WEIGHTS ? are_weights(v) : json_is_object(v);
    size_t n = json_is_array(v) ? json_array_size(v) : json_object_size(v);
    if (!good) return wrong(r, e);
    if ((int64_t)n < r->min || (int64_t)n > r->max)
        return fail(e, ERR_ARG, "option %s: %zu entries, there may be %lld to %lld", r->option.name, n,
                    (long long)r->min, (long long)r->max);
    *out = v;
    return OK;
}

static status read_row(const struct row *r, const json_t *v, struct store_settings *o, struct error *e)
{
    void *at = (char *)o + r->at;
    switch (r->kind) {
    case COUNT: return read_count(r, v, at, e);
    case TEXT:
    case CHOICE: return read_text(r, v, at, e);
    case DURATION: return read_keep_alive(r, v, at, e);
    case FLAG:
        if (!json_is_boolean(v)) return wrong(r, e);
        *(bool *)at = json_is_true(v);
        return OK;
    default: return read_many(r, v, at, e);
    }
}

/* ---- all of them ------------------------------------------------------------------------------------- */

static status unknown(const char *key, struct error *e)
{
    struct name_nearest n;
    name_nearest_init(&n, key);
    for (size_t i = 0; i < COUNT_OF(rows); i++) name_nearest_see(&n, rows[i].option.name);
    if (name_nearest_is_near(&n))
        return fail(e, ERR_ARG, "there is no option '%.60s': is '%s' meant?", key, n.best);
    return fail(e, ERR_ARG, "there is no option '%.60s': docs/models.md lists them", key);
}

static const struct store_settings unset = {.keep_alive_ms = STORE_UNSET, .allow_cpu = true, .mmap = true};

static status read_all(struct store_settings *o, struct error *e)
{
    const char *key;
    json_t *v;
    json_object_foreach(o->all, key, v)
    {
        const struct row *r = NULL;
        for (size_t i = 0; i < COUNT_OF(rows); i++)
            if (!strcmp(rows[i].option.name, key)) r = &rows[i];
        if (!r) return unknown(key, e);
        if (!json_is_null(v)) TRY(read_row(r, v, o, e)); /* null: not set */
    }
    return OK;
}

status store_settings_read(struct store_settings *out, const char *json, struct error *e)
{
    json_error_t where;
    *out = unset;
    if (!json || !*json) return OK;
    if (strlen(json) >= STORE_JSON_MAX)
        return fail(e, ERR_LIMIT, "options: longer than %d bytes", STORE_JSON_MAX);
    out->all = json_loads(json, JSON_REJECT_DUPLICATES, &where);
    status code = OK;
    if (!out->all)
        code = fail(e, ERR_ARG, "options: no JSON: line %d: %.100s", where.line, where.text);
    else if (!json_is_object(out->all))
        code = fail(e, ERR_ARG, "options: a JSON object is wanted");
    else
        code = read_all(out, e);
    if (code != OK) store_settings_deinit(out);
    return code;
}

void store_settings_deinit(struct store_settings *o)
{
    json_decref(o->all);
    *o = unset;
}
