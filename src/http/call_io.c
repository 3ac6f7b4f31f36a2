/* What libcurl is told about a call, and what it asks and gives while the call runs. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "http/client_int.h"
#include "http/h1.h"

enum { KEEP_S = 55 /* less than servers keep idle connections */ };

void call_note(struct http_call *c, enum http_cause cause, const char *why)
{
    if (c->cause) return;
    c->cause = cause;
    snprintf(c->why, sizeof c->why, "%s", why);
}

/* ---- addresses --------------------------------------------------------------------------------------- */

static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct http_call *c = user;
    if (c->may_connect && !c->may_connect(c->may_connect_user, &a->addr)) {
        call_note(c, HTTP_CAUSE_FORBIDDEN, "the address is not one to connect to");
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* A connection that is there already was perhaps opened for a call that may connect to more than this one. */
static bool may_use(const struct http_call *c, const char *ip)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un file;
    } a = {.file = {.sun_family = AF_UNIX}};
    if (!c->may_connect) return true;
    if (inet_pton(AF_INET, ip, &a.v4.sin_addr) == 1)
        a.v4.sin_family = AF_INET;
    else if (inet_pton(AF_INET6, ip, &a.v6.sin6_addr) == 1)
        a.v6.sin6_family = AF_INET6;
    return c->may_connect(c->may_connect_user, &a.any);
}

/* The connection is there, the request goes out. */
static int before_request(void *user, char *ip, char *local_ip, int port, int local_port)
{
    struct http_call *c = user;
    if (!may_use(c, ip)) {
        call_note(c, HTTP_CAUSE_FORBIDDEN, "the address is not one to connect to");
        return CURL_PREREQFUNC_ABORT;
    }
    if (!c->sent) c->connect_us = clock_us();
    c->sent = true;
    call_active(c);
    return CURL_PREREQFUNC_OK;
}

/* ---- the answer -------------------------------------------------------------------------------------- */

const char *head_find(const struct buf *head, const char *name)
{
    for (const char *p = head->data; p && p < head->data + head->n;) {
        const char *value = p + strlen(p) + 1;
        if (!strcasecmp(p, name)) return value;
        p = value + strlen(value) + 1;
    }
    return NULL;
}

static void head_add(struct http_call *c, const char *p, size_t n)
{
    const char *colon = memchr(p, ':', n), *v = colon + 1, *end = p + n;
    if (!colon || memchr(p, 0, n)) return;
    while (v < end && (*v == ' ' || *v == '\t')) v++;
    while (end > v && strchr(" \t\r\n", end[-1])) end--;
    buf_add(&c->head, p, (size_t)(colon - p));
    buf_addc(&c->head, 0);
    buf_add(&c->head, v, (size_t)(end - v));
    buf_addc(&c->head, 0);
}

/* Does libcurl go on to another place instead? */
bool call_redirects(const struct http_call *c)
{
    return c->follows && c->code >= 300 && c->code < 400 && head_find(&c->head, "location");
}

static void give_head(struct http_call *c)
{
    char *url = NULL;
    c->head_done = true;
    curl_easy_getinfo(c->easy, CURLINFO_EFFECTIVE_URL, &url);
    c->url = mem_strdup(url ? url : "");
    call_active(c);
    if (!c->cancelled && c->ops->head) c->ops->head(c, c->user, c->code);
}

static bool announces_too_much(const struct http_call *c)
{
    const char *length = head_find(&c->head, "content-length");
    return c->max_bytes && !c->no_body && length && strtoull(length, NULL, 10) > c->max_bytes;
}

static size_t take_header(char *p, size_t one, size_t n, void *user)
{
    struct http_call *c = user;
    if (c->head_done) return n; /* trailers say nothing here */
    if (!c->first_byte_us) c->first_byte_us = clock_us();
    c->active_us = clock_us();
    if (n > 9 && !memcmp(p, "HTTP/", 5)) { /* of what came before nothing counts: 100, 302, ... */
        const char *space = memchr(p, ' ', n);
        buf_reset(&c->head);
        c->code = space ? atoi(space + 1) : 0;
    } else if (n > 2) {
        head_add(c, p, n);
    } else if (c->code >= 200 && !call_redirects(c)) {
        if (announces_too_much(c)) {
            call_note(c, HTTP_CAUSE_LIMIT, "the answer is larger than what is taken");
            return 0;
        }
        give_head(c);
    }
    if (c->head.failed) call_note(c, HTTP_CAUSE_LIMIT, "the answer's head is too large");
    return c->head.failed || c->cancelled ? 0 : n;
}

static size_t take_body(char *p, size_t one, size_t n, void *user)
{
    struct http_call *c = user;
    if (c->cancelled) return 0;
    if (!c->head_done) return n;
    if (c->want_pause) {
        c->paused = true;
        return CURL_WRITEFUNC_PAUSE; /* libcurl keeps it and comes again */
    }
    if (c->max_bytes && n > c->max_bytes - c->bytes_in) {
        call_note(c, HTTP_CAUSE_LIMIT, "the answer is larger than what is taken");
        return 0;
    }
    c->bytes_in += n;
    c->active_us = clock_us();
    if (c->ops->body) c->ops->body(c, c->user, p, n);
    return c->cancelled ? 0 : n;
}

/* ---- the request's body ------------------------------------------------------------------------------ */

static size_t give_body(char *to, size_t one, size_t room, void *user)
{
    struct http_call *c = user;
    while (c->out_at == c->out.n) {
        if (c->body_done) return 0;
        if (c->cancelled) return CURL_READFUNC_ABORT;
        if (c->body_waits) return CURL_READFUNC_PAUSE; /* libcurl tries by itself at times */
        buf_reset(&c->out);
        c->out_at = 0;
        enum http_pull r = c->ops->pull ? c->ops->pull(c, c->user, &c->out) : HTTP_FAIL;
        c->bytes_out += c->out.n;
        if (r == HTTP_DONE) c->body_done = true;
        bool wrong = c->body_length >= 0 && (c->bytes_out > (uint64_t)c->body_length ||
                                             (c->body_done && c->bytes_out < (uint64_t)c->body_length));
        if (r == HTTP_FAIL || c->out.failed || wrong) {
            call_note(c, HTTP_CAUSE_BODY,
                      wrong ? "the request's body has another length than was said"
                            : "the request's body could not be made");
            return CURL_READFUNC_ABORT;
        }
        if (r == HTTP_WAIT && c->out.n == 0) {
            c->body_waits = true;
            return CURL_READFUNC_PAUSE;
        }
    }
    size_t n = MIN(room, c->out.n - c->out_at);
    memcpy(to, c->out.data + c->out_at, n);
    c->out_at += n;
    call_active(c);
    return n;
}

/* ---- starting ---------------------------------------------------------------------------------------- */

static void set_tls(CURL *h, const struct http_call_options *o)
{
    curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (o->ca_file) {
        curl_easy_setopt(h, CURLOPT_CAINFO, o->ca_file);
        curl_easy_setopt(h, CURLOPT_CAPATH, NULL); /* those and no others */
    }
    if (!o->cert) return;
    curl_easy_setopt(h, CURLOPT_SSLCERT, o->cert);
    curl_easy_setopt(h, CURLOPT_SSLKEY, o->key ? o->key : o->cert);
}

static void set_method(struct http_call *c, const struct http_call_options *o)
{
    CURL *h = c->easy;
    const char *m = o->method ? o->method : o->body || o->pull_body ? "POST" : "GET";
    c->no_body = !strcmp(m, "HEAD");
    if (o->pull_body) { /* as libcurl's "upload": the only kind whose length may be unknown */
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_READFUNCTION, give_body);
        curl_easy_setopt(h, CURLOPT_READDATA, c);
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)MAX(o->body_length, -1));
        /* What was pulled cannot be pulled again, so no connection that may be dying. */
        curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
        if (strcmp(m, "PUT") != 0) curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, m);
    } else if (o->body || !strcmp(m, "POST")) {
        curl_easy_setopt(h, CURLOPT_POST, 1L);
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(o->body ? o->n_body : 0));
        curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, o->body ? o->body : "");
        if (strcmp(m, "POST") != 0) curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, m);
        c->bytes_out = o->body ? o->n_body : 0;
        c->body_done = true;
    } else {
        c->body_done = true;
        if (c->no_body)
            curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
        else if (strcmp(m, "GET") != 0)
            curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, m);
    }
}

static void add_field(struct http_call *c, const char *name, const char *value)
{
    struct buf line = {0};
    if (!h1_is_token(name, strlen(name)) || !h1_is_field_value(value, strlen(value))) {
        call_note(c, HTTP_CAUSE_ARGUMENT, "a header of the request is malformed");
        return;
    }
    buf_addf(&line, *value ? "%s: %s" : "%s;", name, value); /* libcurl's way to write an empty one */
    c->fields = curl_slist_append(c->fields, line.data);
    buf_deinit(&line);
}

static void set_fields(struct http_call *c, const struct http_call_options *o)
{
    bool typed = false;
    for (size_t i = 0; i < o->n_header; i++) {
        add_field(c, o->header[i].name, o->header[i].value);
        typed = typed || !strcasecmp(o->header[i].name, "content-type");
    }
    if (o->from || o->until) {
        char range[64];
        int n = snprintf(range, sizeof range, "bytes=%llu-", (unsigned long long)o->from);
        if (o->until) snprintf(range + n, sizeof range - (size_t)n, "%llu", (unsigned long long)o->until - 1);
        add_field(c, "Range", range);
        if (o->if_match) add_field(c, "If-Range", o->if_match);
    }
    if (!typed) c->fields = curl_slist_append(c->fields, "Content-Type:"); /* not libcurl's own idea of it */
    if (!o->pull_body) c->fields = curl_slist_append(c->fields, "Expect:");
    curl_easy_setopt(c->easy, CURLOPT_HTTPHEADER, c->fields);
}

void call_set_options(struct http_call *c, const struct http_call_options *o)
{
    CURL *h = c->easy;
    bool tls = !strncasecmp(o->url, "https:", 6);
    curl_easy_setopt(h, CURLOPT_PRIVATE, c);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, c->curl_why);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_QUICK_EXIT, 1L); /* do not wait for a look-up that nobody needs any more */
    if (curl_easy_setopt(h, CURLOPT_URL, o->url) != CURLE_OK ||
        curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https"))
        call_note(c, HTTP_CAUSE_ARGUMENT, "the URL cannot be used");
    curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(h, CURLOPT_USERAGENT, "corral/" CORRAL_VERSION);
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION,
                     !o->http2 ? (long)CURL_HTTP_VERSION_1_1
                     : tls     ? (long)CURL_HTTP_VERSION_2TLS
                               : (long)CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE);
    if (o->http2 && !tls) { /* libcurl 7.88 greets again when it uses one again (curl issue 10634) */
        curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(h, CURLOPT_FORBID_REUSE, 1L);
    }
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, o->max_redirects ? 1L : 0L);
    curl_easy_setopt(h, CURLOPT_MAXREDIRS, (long)o->max_redirects);
    curl_easy_setopt(h, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)c->connect_ms);
    curl_easy_setopt(h, CURLOPT_MAXAGE_CONN, (long)KEEP_S);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    if (o->unix_path) curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, o->unix_path);
    const char *proxy = o->unix_path || o->may_connect ? "" : o->proxy;
    if (proxy) curl_easy_setopt(h, CURLOPT_PROXY, proxy);
    curl_easy_setopt(h, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (o->unpack) curl_easy_setopt(h, CURLOPT_ACCEPT_ENCODING, "gzip, zstd");
    if (o->buffer_bytes)
        curl_easy_setopt(h, CURLOPT_BUFFERSIZE, (long)MIN(o->buffer_bytes, (size_t)CURL_MAX_READ_SIZE));

    curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(h, CURLOPT_PREREQFUNCTION, before_request);
    curl_easy_setopt(h, CURLOPT_PREREQDATA, c);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, c);
    set_tls(h, o);
    set_method(c, o);
    set_fields(c, o);
}
