#include "api/keys.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MIN_KEY = 8, MAX_KEY = 512, MAX_KEYS = 1024 };

status api_keys_add(struct api_keys *k, const char *key, struct error *e)
{
    size_t n = strlen(key);
    if (n < MIN_KEY || n > MAX_KEY)
        return fail(e, ERR_ARG, "an API key must have between %d and %d characters, this one has %zu",
                    MIN_KEY, MAX_KEY, n);
    for (size_t i = 0; i < n; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return fail(e, ERR_ARG, "an API key must be printable ASCII without spaces");
    if (k->n == MAX_KEYS) return fail(e, ERR_LIMIT, "more than %d API keys", MAX_KEYS);
    k->key = mem_realloc(k->key, k->n + 1, sizeof *k->key);
    k->key[k->n++] = mem_strdup(key);
    return OK;
}

status api_keys_read(struct api_keys *k, const char *path, struct error *e)
{
    struct buf b = {.max = 1 << 20};
    status s = buf_read_file(&b, path, e);
    size_t before = k->n, number = 0;
    char *rest = b.data, *line;
    while (s == OK && rest && (line = strsep(&rest, "\n"))) {
        number++;
        line += strspn(line, " \t\r");
        for (size_t n = strlen(line); n && strchr(" \t\r", line[n - 1]); n--) line[n - 1] = 0;
        if (*line == 0 || *line == '#') continue;
        s = api_keys_add(k, line, e);
        if (s != OK) s = fail_in(e, "%s, line %zu", path, number);
    }
    if (s == OK && k->n == before) s = fail(e, ERR_FORMAT, "%s holds no API key", path);
    buf_deinit(&b);
    return s;
}

void api_keys_deinit(struct api_keys *k)
{
    for (size_t i = 0; i < k->n; i++) free(k->key[i]);
    free(k->key);
    *k = (struct api_keys){0};
}

/* In a time that depends on the lengths only. */
static bool same(const char *a, const char *b)
{
    size_t n = strlen(a);
    unsigned char differ = 0;
    if (n != strlen(b)) return false;
    for (size_t i = 0; i < n; i++) differ |= (unsigned char)(a[i] ^ b[i]);
    return !differ;
}

const char *api_key_of(const struct http_exchange *x)
{
    const char *bearer = http_header(x, "authorization");
    return bearer && !strncasecmp(bearer, "Bearer ", 7) ? bearer + 7 : http_header(x, "x-api-key");
}

int api_authorize(void *keys, const struct http_exchange *x, enum http_role role, const char **why)
{
    const struct api_keys *k = keys;
    const char *given = api_key_of(x);
    bool known = false;
    if (k->n == 0) return 0;
    *why = given ? "this API key is not known here"
                 : "no API key: send it as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'";
    for (size_t i = 0; given && i < k->n; i++) known = same(k->key[i], given) || known;
    return known ? 0 : 401;
}
