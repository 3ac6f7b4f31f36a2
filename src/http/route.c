/* Which route a path means. A table of a few dozen rows is scanned in order; nothing here allocates. */
#include <string.h>

#include "http/http_int.h"

static bool str_eq(struct http_str a, const char *b, size_t n)
{
    return a.n == n && !memcmp(a.p, b, n);
}

static bool match_path(struct route_match *out, const char *pattern, struct http_str path)
{
    size_t at = 0;
    out->n_param = 0;
    while (*pattern) {
        if (*pattern != '{') {
            if (at == path.n || path.p[at] != *pattern) return false;
            at++, pattern++;
            continue;
        }
        const char *close = strchr(pattern, '}');
        ASSERT(close && out->n_param < HTTP_MAX_PARAMS);
        bool rest = close[-1] == '*';
        size_t from = at;
        while (at < path.n && (rest || path.p[at] != '/')) at++;
        if (at == from) return false;
        out->param[out->n_param].name = (struct http_str){pattern + 1, (size_t)(close - pattern) - 1 - rest};
        out->param[out->n_param++].raw = (struct http_str){path.p + from, at - from};
        pattern = close + 1;
    }
    return at == path.n;
}

static void allow_add(struct route_match *out, const char *method)
{
    size_t n = strlen(out->allow), m = strlen(method);
    if (strstr(out->allow, method) || n + m + 3 > sizeof out->allow)
        return; /* no method is part of another's name */
    if (n) memcpy(out->allow + n, ", ", 2), n += 2;
    memcpy(out->allow + n, method, m + 1);
}

void route_find(struct route_match *out, const struct http_route *routes, size_t n, struct http_str method,
                struct http_str path)
{
    struct route_match found;
    *out = (struct route_match){.status = 404};
    for (size_t i = 0; i < n; i++) {
        const struct http_route *r = &routes[i];
        if (!match_path(&found, r->path, path)) continue;
        if (str_eq(method, r->method, strlen(r->method)) ||
            (str_eq(method, "HEAD", 4) && !strcmp(r->method, "GET"))) {
            out->route = r;
            out->n_param = found.n_param;
            memcpy(out->param, found.param, sizeof out->param);
            return;
        }
        out->status = 405;
        allow_add(out, r->method);
        if (!strcmp(r->method, "GET")) allow_add(out, "HEAD");
    }
    if (out->status == 405) allow_add(out, "OPTIONS");
}

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c |= 32;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool route_decode(char *out, struct http_str raw)
{
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c == '%') {
            int hi = i + 2 < raw.n ? hex(raw.p[i + 1]) : -1, lo = hi < 0 ? -1 : hex(raw.p[i + 2]);
            if (lo < 0 || hi * 16 + lo == 0) return false;
            c = (char)(hi * 16 + lo);
            i += 2;
        }
        *out++ = c;
    }
    *out = 0;
    return true;
}
