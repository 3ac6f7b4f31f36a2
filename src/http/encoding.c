/* Content codings: gzip and zstd, of requests and of answers (RFC 9110, 8.4 and 12.5.3).
 *
 * What a request unpacks to is bounded by what it might have sent unpacked, so a bomb is cut at that size.
 * Answers are packed when they are whole, text, and large enough to gain from it; streams never are. */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>
#include <zstd.h>

#include "http/http_int.h"

enum {
    WORTH_PACKING = 1400, /* less fits one packet anyway */
    STEP = 64 * 1024,
    MAX_WINDOW_LOG = 23 /* memory that a zstd frame may ask for: 8 MiB, as RFC 8878 recommends */
};

enum coding { PLAIN, GZIP, ZSTD, UNKNOWN };

/* ---- requests ---------------------------------------------------------------------------------------- */

static int gunzip(struct buf *out, const char *p, size_t n)
{
    z_stream z = {.next_in = (Bytef *)p, .avail_in = (uInt)n};
    int r = Z_OK;
    if (n > UINT32_MAX || inflateInit2(&z, 15 + 16) != Z_OK) return 500;
    while (r == Z_OK && !out->failed) {
        char *to = buf_room(out, MIN(STEP, out->max - out->n));
        size_t room = out->max - out->n;
        if (!to || room == 0) break;
        room = MIN(room, STEP);
        z.next_out = (Bytef *)to;
        z.avail_out = (uInt)room;
        r = inflate(&z, Z_NO_FLUSH);
        out->n += room - z.avail_out;
        if (r == Z_OK && z.avail_in == 0 && z.avail_out > 0) r = Z_DATA_ERROR; /* ends too soon */
    }
    bool rest = z.avail_in > 0;
    inflateEnd(&z);
    if (r == Z_STREAM_END) return rest ? 400 : 0;
    return r == Z_OK ? 413 : 400;
}

static int unzstd(struct buf *out, const char *p, size_t n)
{
    ZSTD_DCtx *ctx = ZSTD_createDCtx();
    ZSTD_inBuffer in = {p, n, 0};
    size_t left = 1;
    int code = ctx ? 0 : 500;
    if (ctx) ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax, MAX_WINDOW_LOG);
    while (!code && left) {
        size_t room = MIN((size_t)STEP, out->max - out->n), before = in.pos;
        char *to = room ? buf_room(out, room) : NULL;
        if (!to) {
            code = 413;
            break;
        }
        ZSTD_outBuffer o = {to, room, 0};
        left = ZSTD_decompressStream(ctx, &o, &in);
        out->n += o.pos;
        if (ZSTD_isError(left) || (left && o.pos == 0 && in.pos == before)) code = 400;
    }
    if (!code && in.pos < n) code = 400; /* one frame, and nothing after it */
    ZSTD_freeDCtx(ctx);
    return code;
}

static enum coding coding_of(struct http_str v)
{
    if (v.n == 0 || h1_str_is(v, "identity")) return PLAIN;
    if (h1_str_is(v, "gzip") || h1_str_is(v, "x-gzip")) return GZIP;
    return h1_str_is(v, "zstd") ? ZSTD : UNKNOWN;
}

int encoding_unpack(struct http_exchange *x, const char **why)
{
    const struct http_str *v = h1_find(&x->head, "content-encoding");
    enum coding coding = v ? coding_of(*v) : PLAIN;
    struct buf out = {.max = x->max_body + 1};
    if (coding == PLAIN || !x->body.n) return 0;
    *why = "this Content-Encoding is not understood; gzip and zstd are";
    if (coding == UNKNOWN) return 415;
    int code = coding == GZIP ? gunzip(&out, x->body.data, x->body.n) : unzstd(&out, x->body.data, x->body.n);
    if (!code && out.n > x->max_body) code = 413;
    *why = code == 413   ? "the request's body is too large when it is unpacked"
           : code == 400 ? "the request's body is not what its Content-Encoding says"
                         : "out of memory";
    if (code) {
        buf_deinit(&out);
        return code;
    }
    buf_add(&out, "", 0); /* its NUL */
    buf_deinit(&x->body);
    x->body = out;
    return 0;
}

/* ---- answers ----------------------------------------------------------------------------------------- */

/* Does Accept-Encoding name it, with a weight other than 0? Which of two the client likes better is not
 * asked. */
static bool accepts(struct http_str s, const char *name)
{
    size_t i = 0, n_name = strlen(name);
    while (i < s.n) {
        while (i < s.n && (s.p[i] == ' ' || s.p[i] == '\t' || s.p[i] == ',')) i++;
        size_t from = i, to;
        while (i < s.n && s.p[i] != ',') i++;
        for (to = from; to < i && s.p[to] != ';' && s.p[to] != ' ' && s.p[to] != '\t';) to++;
        if (to - from != n_name || !h1_str_is((struct http_str){s.p + from, to - from}, name)) continue;
        for (; to < i; to++)
            if (s.p[to] == '=') { /* q=0, q=0.0, ... */
                for (to++; to < i && (s.p[to] == '0' || s.p[to] == '.' || s.p[to] == ' ');) to++;
                return to < i;
            }
        return true;
    }
    return false;
}

static bool gzip(struct buf *out, const void *p, size_t n, int level)
{
    z_stream z = {0};
    if (n > UINT32_MAX || deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t bound = deflateBound(&z, (uLong)n);
    z.next_in = (Bytef *)p;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)buf_room(out, bound);
    z.avail_out = (uInt)bound;
    bool ok = z.next_out && deflate(&z, Z_FINISH) == Z_STREAM_END;
    out->n = ok ? bound - z.avail_out : 0;
    deflateEnd(&z);
    return ok;
}

static bool zstd(struct buf *out, const void *p, size_t n, int level)
{
    size_t bound = ZSTD_compressBound(n);
    char *to = buf_room(out, bound);
    size_t r = to ? ZSTD_compress(to, bound, p, n, level) : 0;
    if (!to || ZSTD_isError(r)) return false;
    out->n = r;
    return true;
}

static bool is_text(const char *type)
{
    static const char *const known[] = {"application/json", "text/", "image/svg", "application/wasm"};
    if (!type || !strncmp(type, "text/event-stream", 17)) return false;
    for (size_t i = 0; i < COUNT_OF(known); i++)
        if (!strncmp(type, known[i], strlen(known[i]))) return true;
    return false;
}

bool encoding_accepts(const struct http_exchange *x, const char *coding)
{
    const struct http_str *v = h1_find(&x->head, "accept-encoding");
    return v && accepts(*v, coding);
}

bool encoding_worth(const struct http_exchange *x, const char *type, uint64_t n)
{
    return n >= WORTH_PACKING && is_text(type) &&
           (encoding_accepts(x, "zstd") || encoding_accepts(x, "gzip"));
}

const char *encoding_pack(struct http_exchange *x, const char *type, const void *p, size_t n, struct buf *out)
{
    if (n < WORTH_PACKING || !is_text(type)) return NULL;
    http_set_header(x, "Vary", "Accept-Encoding");
    if (encoding_accepts(x, "zstd") && zstd(out, p, n, 1)) return "zstd";
    return encoding_accepts(x, "gzip") && gzip(out, p, n, 1) ? "gzip" : NULL;
}

void encoding_pack_both(const char *type, const void *p, size_t n, struct buf *in_gzip, struct buf *in_zstd)
{
    if (n < WORTH_PACKING || !is_text(type)) return;
    if (!gzip(in_gzip, p, n, 9) || in_gzip->n >= n) buf_deinit(in_gzip);
    if (!zstd(in_zstd, p, n, 19) || in_zstd->n >= n) buf_deinit(in_zstd);
}
