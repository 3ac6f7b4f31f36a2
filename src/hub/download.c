/* Downloads: which part of which file is asked for next, until all are there. */
#include "hub/download.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "hub/download_int.h"

enum {
    CONNECTIONS = 4,
    PART_BYTES = 64 << 20,
    TICK_MS = 50,
    SLOWER = 5 /* times than the best connection was */
};

/* ---- what to fetch next ----------------------------------------------------------------------------------
 */

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
    if (found) fetch_start(d, f, i);
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
        if (!f->done) file_give_back(f);
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
