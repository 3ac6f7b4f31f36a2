/* One fetch of a download: a call, what its answer means, and where its bytes go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "hub/download_int.h"

enum { MAX_RESETS = 4, MAX_REFUSAL = 4096 /* bytes of an error's body that are kept */ };

/* ---- fetches ------------------------------------------------------------------------------------------- */

static void fetch_free(struct fetch *x)
{
    struct download *d = x->d;
    for (struct fetch **at = &d->fetches; *at; at = &(*at)->next)
        if (*at == x) {
            *at = x->next;
            break;
        }
    d->n_fetch--;
    x->f->n_fetch--;
    pthread_mutex_lock(&d->lock);
    if (x->whole)
        for (uint32_t i = 0; i < x->f->n_part; i++) x->f->part[i].busy = false;
    else if (x->part < x->f->n_part)
        x->f->part[x->part].busy = false;
    x->f->next = x->whole ? 0 : MIN(x->f->next, x->part);
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    http_answer_deinit(&x->answer);
    free(x->url);
    free(x);
}

void fetch_cancel(struct fetch *x)
{
    http_call_cancel(x->call);
    fetch_free(x);
}

static void cancel_others(struct file *f, const struct fetch *but)
{
    for (struct fetch *x = but->d->fetches, *next; x; x = next) {
        next = x->next;
        if (x->f == f && x != but) fetch_cancel(x);
    }
}

/* ---- when it did not work ------------------------------------------------------------------------------ */

/* The file changed at its source: all from the beginning. x is gone. */
static void begin_anew(struct fetch *x)
{
    struct download *d = x->d;
    struct file *f = x->f;
    struct error e;
    cancel_others(f, x);
    fetch_cancel(x);
    LOG(WARN, "hub", "file_changed", "url=\"%s\"", f->item.url);
    if (++f->n_reset > MAX_RESETS) {
        download_fail(d, fail(&e, ERR_IO, "%.120s: the file changes while it is fetched", f->item.name), &e);
    }
    pthread_mutex_lock(&d->lock);
    file_reset(f);
    pthread_mutex_unlock(&d->lock);
}

static void try_again(struct fetch *x, int code, const char *retry_after, const char *why)
{
    struct download *d = x->d;
    struct file *f = x->f;
    int64_t now = clock_us();
    struct error e;
    if (code == 429 || code == 503) d->connections = MAX(d->connections / 2, 1);
    if (now < f->not_before_us) return; /* another connection failed with it */
    uint32_t ms = hub_retry_wait_ms(d->o.session->config, ++f->tries, retry_after,
                                    rng_uniform(rng_seed_from_os(), 0, 0, 0));
    f->not_before_us = now + (int64_t)ms * 1000;
    LOG(INFO, "hub", "again", "file=\"%s\" try=%u wait_ms=%u why=\"%s\"", f->item.name, f->tries, ms, why);
    if (f->tries < d->o.session->config->max_tries) return;
    download_fail(d, fail(&e, ERR_IO, "%.80s: given up after %u tries: %.120s", f->item.name, f->tries, why),
                  &e);
}

static bool is_complete(const struct fetch *x)
{
    const struct file *f = x->f;
    if (x->refused || f->bytes == HUB_UNKNOWN) return false;
    return x->at == (x->whole ? f->bytes : part_start(f, x->part) + part_size(f, x->part));
}

/* The answer is none of the file, or not all that was asked for. */
static void settle(struct fetch *x, const struct http_result *r)
{
    struct file *f = x->f;
    const char *at = x->url ? x->url : f->item.url;
    bool redirected = strcmp(at, f->item.url) != 0;
    struct error e = {0};
    status s;
    x->answer.code = r->code;
    if (r->cause)
        s = http_result_error(r, at, &e);
    else if (x->refused)
        s = hub_refused(x->d->o.session, x->d->o.source, x->d->o.ref, &x->answer, at, &e);
    else
        s = fail(&e, ERR_IO, "%.120s: the server sent less than was asked for", at);
    if ((!r->cause && !x->refused) || hub_retry_is_worth(r->cause, r->code, redirected))
        try_again(x, r->code, http_answer_header(&x->answer, "retry-after"), e.msg);
    else if (s != OK)
        download_fail(x->d, s, &e);
}

static void on_end(struct http_call *c, void *user, const struct http_result *r)
{
    struct fetch *x = user;
    if (x->refused && r->code == 416 && !*x->f->item.digest) { /* it is shorter by now */
        begin_anew(x);
        return;
    }
    if (!is_complete(x)) settle(x, r);
    fetch_free(x);
}

/* ---- the head of an answer -------------------------------------------------------------------------------
 */

/* The ETag, else the date of the last change: another one is another file. */
static const char *validator_of(const struct http_call *c)
{
    const char *v = http_call_header(c, "etag");
    return v ? v : http_call_header(c, "last-modified");
}

static bool is_weak(const char *validator)
{
    return !strncmp(validator, "W/", 2);
}

static void refuse(struct fetch *x, const struct http_call *c, int code)
{
    x->refused = true;
    x->answer.code = code;
    x->url = mem_strdup(http_call_url(c));
    hub_keep_head(&x->answer.head, c);
}

/* A page of a captive portal, half a file, ...: perhaps another time. x is gone. */
static void refuse_size(struct fetch *x, int code, int64_t whole)
{
    char why[128];
    snprintf(why, sizeof why, "the server sends %lld bytes in all, %llu are expected", (long long)whole,
             (unsigned long long)x->f->bytes);
    try_again(x, code, NULL, why);
    fetch_cancel(x);
}

/* Now it is known how large the file is. */
static bool learn_size(struct fetch *x, int64_t whole)
{
    struct download *d = x->d;
    struct error e;
    status s;
    if (whole < 0) {
        download_fail(d,
                      fail(&e, ERR_UNSUPPORTED, "%.120s: the server does not say how large the file is",
                           x->f->item.url),
                      &e);
        return false;
    }
    pthread_mutex_lock(&d->lock);
    file_resize(x->f, (uint64_t)whole);
    if (x->f->n_part) x->f->part[0].busy = true;
    pthread_mutex_unlock(&d->lock);
    s = download_take_room(d, &e);
    if (s != OK) download_fail(d, s, &e);
    return s == OK;
}

/* All of it comes, though a part was asked for: this call is the only one from now on. */
static void take_whole(struct fetch *x)
{
    struct file *f = x->f;
    cancel_others(f, x);
    x->whole = f->no_ranges = true;
    x->at = 0;
    pthread_mutex_lock(&x->d->lock);
    for (uint32_t i = 0; i < f->n_part; i++) f->part[i].busy = true;
    pthread_mutex_unlock(&x->d->lock);
}

static void on_head(struct http_call *c, void *user, int code)
{
    struct fetch *x = user;
    struct file *f = x->f;
    uint64_t from;
    int64_t whole;
    const char *validator = validator_of(c);
    bool named = *f->item.digest; /* it says what the file must be; ETags of several mirrors may differ */
    if (code != 200 && code != 206) {
        refuse(x, c, code);
        return;
    }
    bool ours = http_call_extent(c, &from, &whole);
    bool other_size = ours && f->bytes != HUB_UNKNOWN && whole >= 0 && (uint64_t)whole != f->bytes;
    if (!ours || (other_size && f->item.bytes != HUB_UNKNOWN)) {
        refuse_size(x, code, whole);
        return;
    }
    if (other_size || (!named && f->validator && validator && strcmp(validator, f->validator) != 0)) {
        begin_anew(x);
        return;
    }
    if (f->bytes == HUB_UNKNOWN && !learn_size(x, whole)) return;
    if (!f->validator && validator) {
        pthread_mutex_lock(&x->d->lock);
        f->validator = mem_strdup(validator);
        pthread_mutex_unlock(&x->d->lock);
    }
    if (code == 200 && x->ranged) take_whole(x);
}

/* ---- its bytes -------------------------------------------------------------------------------------------
 */

static bool write_at(struct fetch *x, const char *p, size_t n)
{
    struct error e;
    for (uint64_t at = x->at; n;) {
        ssize_t w = pwrite(x->f->fd, p, n, (off_t)at);
        if (w < 0 && errno == EINTR) continue;
        if (w <= 0) {
            download_fail(x->d, fail(&e, ERR_IO, "%s: %s", x->f->item.path, strerror(errno)), &e);
            return false;
        }
        p += w;
        n -= (size_t)w;
        at += (uint64_t)w;
    }
    return true;
}

/* A part that was fetched a second time: is it what it was? */
static void compare(struct file *f, struct part *p)
{
    if (p->second && p->crc != p->first_crc) f->changed = true;
    p->second = false;
}

/* The bytes at x->at that belong to part i: those that are there already are passed over. */
static bool put(struct fetch *x, uint32_t i, const char *p, size_t n)
{
    struct download *d = x->d;
    struct file *f = x->f;
    struct part *part = &f->part[i];
    uint64_t end = part_start(f, i) + part->have;
    if (x->at < end) {
        size_t skip = (size_t)MIN(end - x->at, (uint64_t)n);
        x->at += skip;
        p += skip;
        n -= skip;
    }
    if (!n) return true;
    if (!write_at(x, p, n)) return false;
    uint32_t crc = (uint32_t)crc32(part->crc, (const unsigned char *)p, (uInt)n);
    pthread_mutex_lock(&d->lock);
    part->crc = crc;
    part->have += n;
    f->have += n;
    f->fetched += n;
    f->dirty = true;
    if (part->have == part_size(f, i)) {
        compare(f, part);
        if (x->whole) part->busy = false;
        pthread_cond_signal(&d->wake);
    }
    pthread_mutex_unlock(&d->lock);
    x->at += n;
    f->tries = 0;
    return true;
}

static void on_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct fetch *x = user;
    struct file *f = x->f;
    if (x->refused) {
        buf_add(&x->answer.body, p, MIN(n, MAX_REFUSAL));
        if (x->answer.body.n < MAX_REFUSAL) return;
        settle(x, &(struct http_result){.why = "", .code = x->answer.code});
        fetch_cancel(x);
        return;
    }
    if (f->bytes == HUB_UNKNOWN) return; /* it failed */
    x->got += n;
    while (n) {
        uint32_t i = x->whole ? (uint32_t)(x->at / f->part_bytes) : x->part;
        if (i >= f->n_part) break;
        size_t k = (size_t)MIN((uint64_t)n, part_start(f, i) + part_size(f, i) - x->at);
        if (!k || !put(x, i, p, k)) break;
        p += k;
        n -= k;
    }
    if (n) fetch_cancel(x); /* more than was asked for, or it failed */
}

/* ---- starting ------------------------------------------------------------------------------------------ */

void fetch_start(struct download *d, struct file *f, uint32_t i)
{
    static const struct http_call_ops ops = {.head = on_head, .body = on_body, .end = on_end};
    struct fetch *x = mem_zalloc(1, sizeof *x);
    struct http_call_options o = {.url = f->item.url, .max_redirects = d->o.source->max_redirects};
    struct hub_fields fields = {0};
    uint64_t end;
    *x = (struct fetch){.d = d, .f = f, .next = d->fetches, .part = i, .start_us = clock_us()};
    d->fetches = x;
    d->n_fetch++;
    f->n_fetch++;
    if (f->bytes == HUB_UNKNOWN) {
        o.until = f->part_bytes;
    } else if (f->no_ranges) {
        x->whole = true;
    } else {
        end = part_start(f, i) + part_size(f, i);
        x->at = o.from = part_start(f, i) + f->part[i].have;
        if (end < f->bytes) o.until = end;
    }
    x->ranged = o.from || o.until;
    x->rate_us = x->start_us;
    if (!*f->item.digest && f->validator && !is_weak(f->validator)) o.if_match = f->validator;
    if (d->o.source->fields) d->o.source->fields(d->o.session, f->item.url, &fields);
    o.header = fields.at;
    o.n_header = fields.n;
    hub_call_options(d->o.session->config, &o);
    x->call = http_call_start(d->o.session->client, &o, &ops, x);
    hub_fields_deinit(&fields);
}
