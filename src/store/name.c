/* Names of models: their one spelling, and which one somebody may have meant. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "store/store_int.h"

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' || c == '+';
}

/* A part between slashes, or a tag: out of name characters, beginning with a letter or digit, without "..".
 */
static bool is_part(const char *p, size_t n)
{
    if (!n || p[0] == '.' || p[0] == '_' || p[0] == '-' || p[0] == '+') return false;
    for (size_t i = 0; i < n; i++)
        if (!is_name_char(p[i]) || (p[i] == '.' && i + 1 < n && p[i + 1] == '.')) return false;
    return true;
}

/* "localhost:5000" before a slash. */
static bool is_host(const char *p, size_t n)
{
    const char *colon = memchr(p, ':', n);
    if (!colon) return is_part(p, n);
    size_t port = (size_t)(p + n - colon) - 1;
    if (!port || port > 5) return false;
    for (size_t i = 1; i <= port; i++)
        if (colon[i] < '0' || colon[i] > '9') return false;
    return is_part(p, (size_t)(colon - p));
}

static bool is_name(const char *text, size_t *n_parts, const char **tag)
{
    const char *slash;
    for (*n_parts = 1; (slash = strchr(text, '/')) != NULL; text = slash + 1, ++*n_parts) {
        size_t n = (size_t)(slash - text);
        if (*n_parts == 1 ? !is_host(text, n) : !is_part(text, n)) return false;
    }
    const char *colon = strchr(text, ':');
    *tag = colon ? colon + 1 : NULL;
    return *n_parts <= 4 && is_part(text, colon ? (size_t)(colon - text) : strlen(text)) &&
           (!*tag || is_part(*tag, strlen(*tag)));
}

static status too_long(const char *name, struct error *e)
{
    return fail(e, ERR_ARG, "the name '%.60s...' is longer than %d characters, its tag among them", name,
                STORE_NAME_MAX - 1);
}

status store_name(char out[STORE_NAME_MAX], const char *text, struct error *e)
{
    static const char latest[] = ":latest";
    size_t n = strlen(text ? text : ""), n_parts;
    const char *tag;
    out[0] = 0;
    if (!n) return fail(e, ERR_ARG, "the name of the model is empty");
    if (n >= STORE_NAME_MAX) return too_long(text, e);
    char low[STORE_NAME_MAX];
    for (size_t i = 0; i <= n; i++) low[i] = (char)tolower((unsigned char)text[i]);
    if (!is_name(low, &n_parts, &tag))
        return fail(
            e, ERR_ARG,
            "'%.80s' is no name of a model: names are like llama3.2, qwen3:8b or hf.co/org/repo:q4_k_m, "
            "of letters, digits and . _ - +",
            text);
    if (!tag && n + sizeof latest > STORE_NAME_MAX) return too_long(text, e);
    memcpy(out, low, n + 1);
    if (!tag) memcpy(out + n, latest, sizeof latest);
    return OK;
}

void store_name_short(char out[STORE_NAME_MAX], const char *name)
{
    static const char latest[] = ":latest";
    snprintf(out, STORE_NAME_MAX, "%s", name);
    size_t n = strlen(out), m = sizeof latest - 1;
    if (n > m && !strcmp(out + n - m, latest)) out[n - m] = 0;
}

/* ---- near names -------------------------------------------------------------------------------------- */

/* How many letters must change, at most `over`: Levenshtein's distance by one row at a time. */
static size_t distance(const char *a, const char *b, size_t over)
{
    size_t n = strlen(a), m = strlen(b), row[STORE_NAME_MAX + 1];
    if (m > STORE_NAME_MAX || (n > m ? n - m : m - n) > over) return over;
    for (size_t k = 0; k <= m; k++) row[k] = k;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= m; k++) {
            size_t above = row[k], change = diagonal + (a[i - 1] != b[k - 1]);
            row[k] = MIN(MIN(above, row[k - 1]) + 1, change);
            diagonal = above;
        }
    }
    return MIN(row[m], over);
}

void name_nearest_init(struct name_nearest *n, const char *to)
{
    *n = (struct name_nearest){.to = to, .distance = STORE_NAME_MAX};
}

void name_nearest_see(struct name_nearest *n, const char *candidate)
{
    size_t d = distance(n->to, candidate, n->distance);
    if (d >= n->distance) return;
    n->distance = d;
    snprintf(n->best, sizeof n->best, "%s", candidate);
}

/* Near enough to be a slip of the keyboard. */
bool name_nearest_is_near(const struct name_nearest *n)
{
    return n->best[0] && n->distance <= MAX((size_t)2, strlen(n->to) / 3);
}
