/* Who asks, when a proxy stands in between: X-Forwarded-For or Forwarded (RFC 7239), believed only of proxies
 * that were named. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "http/http_int.h"

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff}; /* before an IPv4 address */

enum { NODE_BYTES = 64 }; /* of an address with a port */

struct proxies {
    bool unix_too, rfc7239; /* rfc7239: they write Forwarded */
    size_t n;
    struct address_net net[];
};

bool address_read(unsigned char out[16], const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        memcpy(out, mapped, sizeof mapped);
        memcpy(out + 12, &((const struct sockaddr_in *)a)->sin_addr, 4);
        return true;
    }
    if (a->sa_family != AF_INET6) return false;
    memcpy(out, &((const struct sockaddr_in6 *)a)->sin6_addr, 16);
    return true;
}

static bool parse(unsigned char out[16], const char *text)
{
    if (inet_pton(AF_INET6, text, out) == 1) return true;
    memcpy(out, mapped, sizeof mapped);
    return inet_pton(AF_INET, text, out + 12) == 1;
}

static void print(char out[INET6_ADDRSTRLEN], const unsigned char address[16])
{
    bool v4 = !memcmp(address, mapped, sizeof mapped);
    inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? address + 12 : address, out, INET6_ADDRSTRLEN);
}

/* ---- which proxies ----------------------------------------------------------------------------------- */

static status read_net(struct address_net *out, const char *text, struct error *e)
{
    char address[INET6_ADDRSTRLEN];
    const char *slash = strchr(text, '/');
    size_t n = slash ? (size_t)(slash - text) : strlen(text);
    char *end = NULL;
    bool good = n < sizeof address;
    snprintf(address, sizeof address, "%.*s", (int)MIN(n, sizeof address), text);
    good = good && parse(out->prefix, address);
    uint32_t most = strchr(address, ':') ? 128 : 32;
    unsigned long bits = slash && slash[1] >= '0' && slash[1] <= '9' ? strtoul(slash + 1, &end, 10) : most;
    good = good && bits <= most && (!slash || (end && !*end));
    out->bits = (uint32_t)bits + 128 - most;
    if (good) return OK;
    return fail(e, ERR_ARG,
                "trusted proxy '%.60s': an address is wanted, or a network like 10.0.0.0/8, or unix", text);
}

status proxies_new(struct proxies **out, const char *const *text, size_t n, bool rfc7239, struct error *e)
{
    struct proxies *p = mem_zalloc(1, sizeof *p + n * sizeof(struct address_net));
    p->rfc7239 = rfc7239;
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(text[i], "unix")) {
            p->unix_too = true;
            continue;
        }
        status s = read_net(&p->net[p->n++], text[i], e);
        if (s == OK) continue;
        free(p);
        return s;
    }
    *out = p;
    return OK;
}

bool proxies_have(const struct proxies *p, const unsigned char *address)
{
    if (!p || !address) return p && p->unix_too;
    for (size_t i = 0; i < p->n; i++)
        if (address_inside(address, &p->net[i])) return true;
    return false;
}

/* ---- what they say ----------------------------------------------------------------------------------- */

static struct http_str trimmed(struct http_str s)
{
    while (s.n && (*s.p == ' ' || *s.p == '\t')) s.p++, s.n--;
    while (s.n && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t')) s.n--;
    return s;
}

/* "203.0.113.7", with a port or not, "2001:db8::1", "[2001:db8::1]:443". */
static bool read_node(unsigned char out[16], struct http_str s)
{
    char text[INET6_ADDRSTRLEN];
    const char *p = s.p;
    size_t n = s.n;
    const char *end = n && *p == '[' ? memchr(p, ']', n) : memchr(p, ':', n);
    if (n && *p == '[') {
        p++;
        n = end ? (size_t)(end - p) : 0;
    } else if (end && !memchr(end + 1, ':', n - (size_t)(end + 1 - p))) {
        n = (size_t)(end - p);
    }
    if (!n || n >= sizeof text) return false;
    memcpy(text, p, n);
    text[n] = 0;
    return parse(out, text);
}

/* What stands before the next semicolon that is not in quotes, which goes too. */
static struct http_str take_pair(struct http_str *s)
{
    bool quoted = false;
    size_t n = 0;
    for (; n < s->n && (quoted || s->p[n] != ';'); n++) {
        if (s->p[n] == '"')
            quoted = !quoted;
        else if (quoted && s->p[n] == '\\' && n + 1 < s->n)
            n++;
    }
    struct http_str pair = {s->p, n};
    n += n < s->n;
    *s = (struct http_str){s->p + n, s->n - n};
    return trimmed(pair);
}

/* The value of a pair, without its quotes. */
static bool read_value(char out[NODE_BYTES], size_t *n_out, struct http_str v)
{
    bool quoted = v.n && *v.p == '"';
    size_t n = 0, end = v.n - quoted;
    if (quoted && (v.n < 2 || v.p[end] != '"')) return false;
    for (size_t i = quoted; i < end; i++) {
        if (quoted && v.p[i] == '\\' && ++i == end) return false;
        if (n == NODE_BYTES) return false;
        out[n++] = v.p[i];
    }
    *n_out = n;
    return true;
}

/* An element of Forwarded: pairs, of which one is "for", who asked. What the RFC wants in quotes is
 * understood without them. */
static bool read_element(unsigned char out[16], struct http_str s)
{
    char node[NODE_BYTES];
    size_t n = 0;
    while (s.n) {
        struct http_str pair = take_pair(&s);
        const char *equals = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
        size_t name = equals ? (size_t)(equals - pair.p) : 0;
        if (!h1_str_is((struct http_str){pair.p, name}, "for")) continue;
        if (n || !read_value(node, &n, (struct http_str){equals + 1, pair.n - name - 1})) return false;
    }
    return read_node(out, (struct http_str){node, n});
}

/* Where the quoted string begins whose last mark is at `end`; 0: nowhere. */
static size_t quote_start(const char *p, size_t end)
{
    for (size_t i = end; i > 0; i--) {
        size_t n = 0;
        if (p[i - 1] != '"') continue;
        while (n + 1 < i && p[i - 2 - n] == '\\') n++;
        if (n % 2 == 0) return i - 1;
    }
    return 0;
}

/* The last element of a list whose commas may also stand in quotes. Found from behind, so that nothing before
 * it, a quote that never ends for one, can reach what the nearest proxy has appended. */
static size_t element_start(const char *p, size_t end)
{
    while (end > 0 && p[end - 1] != ',') {
        end--;
        if (p[end] == '"') end = quote_start(p, end);
    }
    return end;
}

/* Each proxy appends whom it serves: from the right, the first that is no proxy of ours is the client. What
 * stands to the left of that, the client may have written itself. */
bool proxies_client(const struct proxies *p, const struct h1_head *h, unsigned char out[16])
{
    const char *header = p->rfc7239 ? "forwarded" : "x-forwarded-for";
    bool any = false;
    for (size_t i = h->n_field; i-- > 0;) {
        const struct http_str v = h->field[i].value;
        if (!h1_str_is(h->field[i].name, header)) continue;
        for (size_t end = v.n, from; end > 0; end = from ? from - 1 : 0) {
            unsigned char address[16];
            from = element_start(v.p, end);
            const struct http_str s = trimmed((struct http_str){v.p + from, end - from});
            if (!(p->rfc7239 ? read_element(address, s) : read_node(address, s))) return any;
            memcpy(out, address, 16);
            any = true;
            if (!proxies_have(p, address)) return true;
        }
    }
    return any;
}

bool client_find(struct http_exchange *x, unsigned char address[16])
{
    const struct http_conn *c = x->conn;
    const struct proxies *p = c->loop->server->proxies;
    if (!p) return false;
    x->forwarded = c->from.proxied && proxies_client(p, &x->head, address);
    if (!x->forwarded && c->from.has_address) memcpy(address, c->from.address, 16);
    if (x->forwarded || c->from.has_address) print(x->client, address);
    return x->forwarded;
}

const char *http_client(const struct http_exchange *x)
{
    return *x->client ? x->client : NULL;
}
