#include "http/static.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "http/http_int.h"

enum { PACK_FILES_BELOW = 256 * 1024, PIECE = 16 * 1024 };

/* What is to be sent: bytes, or a file. */
struct thing {
    const char *type, *cache;
    char etag[40], modified[40]; /* modified: "" when not known */
    const void *data;            /* NULL: fd, which whoever sends closes */
    int fd;
    uint64_t n;
};

static bool is_html(const char *type)
{
    return !strncmp(type, "text/html", 9);
}

static void set_fields(struct http_exchange *x, const struct thing *t)
{
    http_set_header(x, "ETag", t->etag);
    http_set_header(x, "Cache-Control", t->cache ? t->cache : "no-cache");
    if (t->modified[0]) http_set_header(x, "Last-Modified", t->modified);
    http_set_header(x, "Accept-Ranges", "bytes");
    if (!is_html(t->type)) return;
    /* A page uses what comes with it and nothing else, and nobody frames it. */
    http_set_header(x, "Content-Security-Policy",
                    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
                    "form-action 'self'; frame-ancestors 'none'");
    http_set_header(x, "X-Frame-Options", "DENY");
    http_set_header(x, "Referrer-Policy", "no-referrer");
}

/* ---- conditions (RFC 9110, 13) ------------------------------------------------------------------------- */

/* Is the tag in the list? Weakly compared: neither W/ nor the coding at its end makes a difference. */
static bool tag_listed(const char *list, const char *tag)
{
    size_t n = strcspn(tag + 1, ";\"") + 1;
    if (!strcmp(list, "*")) return true;
    for (const char *at = strchr(list, '"'); at; at = strchr(at, '"')) {
        const char *end = strchr(at + 1, '"');
        if (!end) return false;
        if (!strncmp(at, tag, n) && (at[n] == '"' || at[n] == ';')) return true;
        at = end + 1;
    }
    return false;
}

static bool unchanged(const struct http_exchange *x, const struct thing *t)
{
    const char *none = http_header(x, "If-None-Match"), *since = http_header(x, "If-Modified-Since");
    if (none) return tag_listed(none, t->etag);
    return since && t->modified[0] &&
           !strcmp(since, t->modified); /* the date that was given, as browsers send it */
}

/* ---- ranges (RFC 9110, 14) ----------------------------------------------------------------------------- */

enum range { WHOLE, PART, UNSATISFIABLE };

static bool number(const char **p, uint64_t *out)
{
    const char *from = *p;
    for (*out = 0; **p >= '0' && **p <= '9' && *out < UINT64_MAX / 16; (*p)++)
        *out = *out * 10 + (uint64_t)(**p - '0');
    return *p > from;
}

/* One range; several, or what is malformed, is answered with the whole. */
static enum range find_range(const struct http_exchange *x, const struct thing *t, uint64_t *from,
                             uint64_t *n)
{
    const char *r = http_header(x, "Range"), *unless = http_header(x, "If-Range");
    uint64_t first, last;
    *from = 0;
    *n = t->n;
    if (!r || strcmp(http_method(x), "GET") != 0 || strncmp(r, "bytes=", 6) != 0) return WHOLE;
    if (unless && strcmp(unless, t->etag) != 0 && (!t->modified[0] || strcmp(unless, t->modified) != 0))
        return WHOLE;
    r += 6;
    if (*r == '-') { /* the last so many */
        r++;
        if (!number(&r, &last) || *r) return WHOLE;
        if (last == 0) return UNSATISFIABLE;
        *n = MIN(last, t->n);
        *from = t->n - *n;
        return t->n ? PART : UNSATISFIABLE;
    }
    if (!number(&r, &first) || *r++ != '-') return WHOLE;
    if (!*r)
        last = UINT64_MAX;
    else if (!number(&r, &last) || *r || last < first)
        return WHOLE;
    if (first >= t->n) return UNSATISFIABLE;
    *from = first;
    *n = MIN(last, t->n - 1) - first + 1;
    return PART;
}

/* ---- sending ------------------------------------------------------------------------------------------- */

struct file {
    int fd;
    uint64_t at, left;
};

static enum http_pull file_pull(struct http_exchange *x, void *user, struct buf *out)
{
    struct file *f = user;
    size_t want = (size_t)MIN(f->left, (uint64_t)PIECE);
    char *to = buf_room(out, want);
    ssize_t n = to ? pread(f->fd, to, want, (off_t)f->at) : -1;
    if (want && n <= 0) return HTTP_FAIL; /* it became shorter */
    out->n += (size_t)n;
    f->at += (uint64_t)n;
    f->left -= (uint64_t)n;
    return f->left ? HTTP_MORE : HTTP_DONE;
}

static void file_end(struct http_exchange *x, void *user, bool complete)
{
    struct file *f = user;
    close(f->fd);
    free(f);
}
static const struct http_responder sending_file = {.pull = file_pull, .end = file_end};

/* The bytes [from, from + n) as they are. */
static void send_part(struct http_exchange *x, const struct thing *t, int code, uint64_t from, uint64_t n)
{
    if (t->data) {
        exchange_reply_as_is(x, code, t->type, (const char *)t->data + from, (size_t)n);
        return;
    }
    struct file *f = mem_zalloc(1, sizeof *f);
    *f = (struct file){t->fd, from, n};
    http_attach(x, &sending_file, f);
    http_stream_sized(x, code, t->type, n);
}

static void done(const struct thing *t)
{
    if (!t->data) close(t->fd);
}

static void send_thing(struct http_exchange *x, const struct thing *t)
{
    uint64_t from, n;
    char range[80];
    set_fields(x, t);
    if (unchanged(x, t)) {
        done(t);
        http_reply(x, 304, NULL, NULL, 0);
        return;
    }
    switch (find_range(x, t, &from, &n)) {
    case WHOLE: send_part(x, t, 200, 0, t->n); return;
    case PART:
        snprintf(range, sizeof range, "bytes %llu-%llu/%llu", (unsigned long long)from,
                 (unsigned long long)(from + n - 1), (unsigned long long)t->n);
        http_set_header(x, "Content-Range", range);
        send_part(x, t, 206, from, n);
        return;
    case UNSATISFIABLE:
        snprintf(range, sizeof range, "bytes */%llu", (unsigned long long)t->n);
        http_set_header(x, "Content-Range", range);
        done(t);
        http_reply_error(x, 416, "the range lies outside");
    }
}

/* ---- in memory ----------------------------------------------------------------------------------------- */

void http_asset_prepare(struct http_asset *a)
{
    unsigned char sum[EVP_MAX_MD_SIZE] = {0};
    EVP_Digest(a->data, a->n, sum, NULL, EVP_sha256(), NULL);
    snprintf(a->etag, sizeof a->etag, "\"%02x%02x%02x%02x%02x%02x%02x%02x\"", sum[0], sum[1], sum[2], sum[3],
             sum[4], sum[5], sum[6], sum[7]);
    encoding_pack_both(a->type, a->data, a->n, &a->gzip, &a->zstd);
}

void http_asset_deinit(struct http_asset *a)
{
    buf_deinit(&a->gzip);
    buf_deinit(&a->zstd);
}

void http_serve_asset(struct http_exchange *x, void *asset)
{
    const struct http_asset *a = asset;
    struct thing t = {.type = a->type, .cache = a->cache, .data = a->data, .n = a->n};
    const char *coding = NULL;
    if (a->gzip.n || a->zstd.n) http_set_header(x, "Vary", "Accept-Encoding");
    if (!http_header(x, "Range"))
        coding = a->zstd.n && encoding_accepts(x, "zstd")   ? "zstd"
                 : a->gzip.n && encoding_accepts(x, "gzip") ? "gzip"
                                                            : NULL;
    snprintf(t.etag, sizeof t.etag, "%s", a->etag);
    if (coding) { /* other bytes, another tag */
        const struct buf *b = coding[0] == 'z' ? &a->zstd : &a->gzip;
        t.data = b->data;
        t.n = b->n;
        snprintf(t.etag, sizeof t.etag, "%.*s;%s\"", (int)strlen(a->etag) - 1, a->etag, coding);
        http_set_header(x, "Content-Encoding", coding);
    }
    send_thing(x, &t);
}

/* ---- files --------------------------------------------------------------------------------------------- */

static const char *type_of(const char *path)
{
    static const struct {
        const char *end, *type;
    } known[] = {{".html", "text/html; charset=utf-8"},
                 {".css", "text/css; charset=utf-8"},
                 {".js", "text/javascript; charset=utf-8"},
                 {".mjs", "text/javascript; charset=utf-8"},
                 {".json", "application/json"},
                 {".txt", "text/plain; charset=utf-8"},
                 {".md", "text/markdown; charset=utf-8"},
                 {".svg", "image/svg+xml"},
                 {".png", "image/png"},
                 {".jpg", "image/jpeg"},
                 {".webp", "image/webp"},
                 {".ico", "image/x-icon"},
                 {".wasm", "application/wasm"},
                 {".woff2", "font/woff2"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < COUNT_OF(known); i++)
        if (!strcasecmp(dot, known[i].end)) return known[i].type;
    return "application/octet-stream";
}

void http_reply_file(struct http_exchange *x, const char *path, const char *type)
{
    struct stat st;
    struct thing t = {.type = type ? type : type_of(path)};
    t.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* not to wait where a pipe lies */
    if (t.fd < 0 || fstat(t.fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        int code = t.fd < 0 && (errno == EMFILE || errno == ENFILE) ? 503 : 404;
        if (t.fd >= 0) close(t.fd);
        http_reply_error(x, code, code == 404 ? "no such file" : "too many files are open");
        return;
    }
    t.n = (uint64_t)st.st_size;
    snprintf(t.etag, sizeof t.etag, "\"%llx-%llx\"", (unsigned long long)t.n,
             (unsigned long long)st.st_mtim.tv_sec * 1000000000 + (unsigned long long)st.st_mtim.tv_nsec);
    http_date(t.modified, st.st_mtim.tv_sec);
    if (t.n <= PACK_FILES_BELOW && !http_header(x, "Range") && !unchanged(x, &t) &&
        encoding_worth(x, t.type, t.n)) {
        struct buf all = {.max = PACK_FILES_BELOW};
        if (buf_read_fd(&all, t.fd, NULL) == OK) {
            snprintf(t.etag + strlen(t.etag) - 1, sizeof t.etag - strlen(t.etag), ";z\"");
            set_fields(x, &t);
            http_reply(x, 200, t.type, all.data, all.n);
            buf_deinit(&all);
            close(t.fd);
            return;
        }
        buf_deinit(&all);
    }
    send_thing(x, &t);
}

void http_serve_folder(struct http_exchange *x, void *folder)
{
    const char *rest = http_param(x, "path");
    struct buf path = {.max = 4096};
    bool ok = rest && *rest != '/' && *rest != '.' && !strstr(rest, "/.") && !strstr(rest, "//");
    buf_addf(&path, "%s/%s", (const char *)folder, ok ? rest : "");
    if (ok && !path.failed)
        http_reply_file(x, path.data, NULL);
    else
        http_reply_error(x, 404, "no such file");
    buf_deinit(&path);
}
