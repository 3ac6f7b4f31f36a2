/* Downloads: which part of which file is asked for next, what comes of it, and what when nothing does. */
#include "hub/download.h"

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

enum {
    CONNECTIONS = 4,
    PART_BYTES = 64 << 20,
    TICK_MS = 100,
    MAX_RESETS = 4,
    MAX_REFUSAL = 4096, /* bytes of an error's body that are kept */
    SLOWER = 5          /* times than the best connection of the file was */
};

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

static void fetch_cancel(struct fetch *x)
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

/* ---- what to fetch next ----------------------------------------------------------------------------------
 */

static void start(struct download *d, struct file *f, uint32_t i)
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

/* A part to fetch, marked as being fetched; n_part: none. With the lock. */
static uint32_t next_part(struct file *f)
{
    for (; f->next < f->n_part; f->next++) {
        struct part *p = &f->part[f->next];
        bool again = p->doubtful && !f->changed;
        if (p->busy || (p->have == part_size(f, f->next) && !again)) continue;
        if (again) {
            uint32_t crc = p->crc;
            if (p->have == part_size(f, f->next)) file_drop_part(f, f->next);
            p->first_crc = crc;
            p->second = true;
        }
        if (p->doubtful) {
            p->doubtful = false;
            f->n_doubt--;
        }
        p->busy = true;
        return f->next;
    }
    return f->n_part;
}

/* The same where all comes or nothing: all parts that are missing. With the lock. */
static bool next_whole(struct file *f)
{
    bool missing = false;
    if (f->n_fetch) return false;
    for (f->next = 0; next_part(f) < f->n_part;) {} /* also drops those that are to come a second time */
    for (uint32_t i = 0; i < f->n_part; i++) missing = missing || f->part[i].busy;
    return missing;
}

static bool start_next(struct download *d, struct file *f)
{
    uint32_t i = 0;
    bool found = false;
    pthread_mutex_lock(&d->lock);
    if (f->done || d->result != OK || clock_us() < f->not_before_us) {
        found = false;
    } else if (f->bytes == HUB_UNKNOWN) {
        found = !f->n_fetch;
    } else if (f->no_ranges) {
        found = next_whole(f);
    } else {
        i = next_part(f);
        found = i < f->n_part;
    }
    pthread_mutex_unlock(&d->lock);
    if (found) start(d, f, i);
    return found;
}

/* Five times slower than the best one of this file was, for long enough, and not for the second time. */
static bool is_slow(const struct fetch *x, int64_t slow_us)
{
    const struct file *f = x->f;
    return !x->whole && f->bytes != HUB_UNKNOWN && x->rate_us - x->start_us >= slow_us &&
           x->rate * SLOWER < f->best_rate && !f->part[x->part].moved;
}

/* How fast the connections are; when there is nothing else to do, a slow one is replaced. */
static void watch_speed(struct download *d, bool idle)
{
    int64_t now = clock_us(), slow_us = (int64_t)d->o.session->config->slow_ms * 1000;
    for (struct fetch *x = d->fetches, *next; x; x = next) {
        next = x->next;
        if (now - x->rate_us < slow_us / 4) continue;
        x->rate = (double)(x->got - x->rate_got) * 1e6 / (double)(now - x->rate_us);
        x->rate_us = now;
        x->rate_got = x->got;
        x->f->best_rate = MAX(x->f->best_rate, x->rate);
        if (!idle || !is_slow(x, slow_us)) continue;
        LOG(INFO, "hub", "slow_connection", "file=\"%s\" part=%u bytes_per_s=%.0f", x->f->item.name, x->part,
            x->rate);
        x->f->part[x->part].moved = true;
        fetch_cancel(x);
    }
}

/* ---- a download ------------------------------------------------------------------------------------------
 */

static bool is_over(struct download *d)
{
    size_t n_done = 0;
    pthread_mutex_lock(&d->lock);
    bool over = d->result != OK;
    for (size_t i = 0; i < d->n_file; i++) n_done += d->file[i].done;
    pthread_mutex_unlock(&d->lock);
    return over || n_done == d->n_file;
}

static void hand_out(struct download *d)
{
    bool idle = false;
    while (d->n_fetch < d->connections && !idle) {
        idle = true;
        for (size_t i = 0; i < d->n_file && idle; i++) idle = !start_next(d, &d->file[i]);
    }
    watch_speed(d, idle);
}

static status fetch_all(struct download *d, struct error *e)
{
    TRY(download_take_room(d, e));
    while (!is_over(d)) {
        if (hub_cancelled(d->o.session)) return fail(e, ERR_CANCELLED, "cancelled");
        hand_out(d);
        http_client_wait(d->o.session->client, TICK_MS);
    }
    if (d->result != OK && e) *e = d->error;
    return d->result;
}

status download_run(struct download *d, struct error *e)
{
    if (pthread_create(&d->thread, NULL, download_check, d) != 0)
        return fail(e, ERR_LIMIT, "cannot start a thread");
    status s = fetch_all(d, e);
    while (d->fetches) fetch_cancel(d->fetches);
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    download_save(d);
    for (size_t i = 0; i < d->n_file; i++) {
        struct file *f = &d->file[i];
        if (f->done) unlink(f->side);
        if (s == ERR_FORMAT && f->second && !f->done) download_discard(f->item.path);
    }
    http_client_wait(d->o.session->client, 0); /* the cancelled calls go */
    return s;
}

status download_new(struct download **out, const struct download_item *items, size_t n,
                    const struct download_options *o, struct error *e)
{
    struct download *d = mem_zalloc(1, sizeof *d);
    pthread_condattr_t monotonic;
    status s = OK;
    d->o = *o;
    d->connections = o->connections ? o->connections : CONNECTIONS;
    d->file = mem_zalloc(MAX(n, 1), sizeof *d->file);
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&d->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (; s == OK && d->n_file < n; d->n_file++)
        s = file_open(&d->file[d->n_file], &items[d->n_file], o->part_bytes ? o->part_bytes : PART_BYTES, e);
    if (s == OK)
        *out = d;
    else
        download_free(d);
    return s;
}

void download_free(struct download *d)
{
    if (!d) return;
    for (size_t i = 0; i < d->n_file; i++) file_close(&d->file[i]);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    free(d->file);
    free(d);
}

void download_file_state(const struct download *d, size_t i, struct download_state *out)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)&d->lock;
    const struct file *f = &d->file[i];
    pthread_mutex_lock(lock);
    *out = (struct download_state){.bytes = f->have, .total = f->bytes, .fetched = f->fetched};
    out->phase = f->done                                                      ? DOWNLOAD_DONE
                 : f->bytes != HUB_UNKNOWN && f->have == f->bytes && f->bytes ? DOWNLOAD_CHECKING
                 : f->fetched                                                 ? DOWNLOAD_RUNNING
                                                                              : DOWNLOAD_WAITING;
    pthread_mutex_unlock(lock);
}

const char *download_digest(const struct download *d, size_t i)
{
    return d->file[i].digest;
}
