/* The checking thread: reads back what has arrived, part by part in order, compares it with what was
 * received, and computes the file's digest. It also writes PATH.parts, so that the thread with the
 * connections never waits for the disk more than it must.
 *
 * A part that comes back different from the disk is fetched again. When all parts are as they were received
 * and the digest is wrong all the same, what came was wrong: parts are fetched a second time, in order, until
 * one differs from what came first, and then the digest is tried again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "hub/download_int.h"

enum { BLOCK = 1 << 20 };

void download_fail(struct download *d, status s, const struct error *e)
{
    pthread_mutex_lock(&d->lock);
    if (d->result == OK) {
        d->result = s;
        d->error = *e;
    }
    pthread_mutex_unlock(&d->lock);
}

/* ---- saving ------------------------------------------------------------------------------------------ */

void download_save(struct download *d)
{
    for (size_t i = 0; i < d->n_file; i++) {
        struct file *f = &d->file[i];
        struct buf text = {0};
        struct error e;
        pthread_mutex_lock(&d->lock);
        bool save = f->dirty && !f->done && f->bytes != HUB_UNKNOWN;
        if (save) file_state(f, &text);
        f->dirty = false;
        pthread_mutex_unlock(&d->lock);
        if (save && file_save(f, &text, &e) != OK) LOG(WARN, "hub", "state_not_saved", "why=\"%s\"", e.msg);
        buf_deinit(&text);
    }
}

/* ---- what can be checked ------------------------------------------------------------------------------- */

static bool is_whole(const struct file *f, uint32_t i)
{
    return f->part[i].have == part_size(f, i) && !f->part[i].busy;
}

/* After a wrong digest nothing is read until a part came out different, or all were fetched twice. */
static bool is_ready(const struct file *f)
{
    if (f->done || f->bytes == HUB_UNKNOWN) return false;
    if (!f->second) return f->check_at == f->n_part || is_whole(f, f->check_at);
    if (f->n_doubt && !f->changed) return false;
    for (uint32_t i = f->check_at; i < f->n_part; i++)
        if (!is_whole(f, i)) return false;
    return true;
}

static void begin(struct file *f)
{
    char head[40];
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)f->bytes) + 1;
    f->check_at = 0;
    EVP_DigestInit_ex(f->sha, EVP_sha256(), NULL);
    EVP_DigestInit_ex(f->git, EVP_sha1(), NULL);
    EVP_DigestUpdate(f->git, head, (size_t)n);
}

static bool is_git(const struct file *f)
{
    return !strncmp(f->item.digest, "git:", 4);
}

/* Part i into the digests; false: it cannot be read. */
static bool read_part(const struct file *f, uint64_t at, uint64_t n, EVP_MD_CTX *sha, EVP_MD_CTX *git,
                      uint32_t *crc)
{
    unsigned char *block = mem_alloc(BLOCK);
    bool good = true;
    *crc = 0;
    while (n && good) {
        ssize_t r = pread(f->fd, block, MIN(n, BLOCK), (off_t)at);
        if (r < 0 && errno == EINTR) continue;
        if ((good = r > 0)) {
            *crc = (uint32_t)crc32(*crc, block, (uInt)r);
            EVP_DigestUpdate(sha, block, (size_t)r);
            if (is_git(f)) EVP_DigestUpdate(git, block, (size_t)r);
            at += (uint64_t)r;
            n -= (uint64_t)r;
        }
    }
    free(block);
    return good;
}

/* ---- the end of a file --------------------------------------------------------------------------------- */

static void finish_digest(struct file *f, char *sha, char *git)
{
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n;
    EVP_DigestFinal_ex(f->sha, md, &n);
    memcpy(sha, "sha256:", 7);
    hub_hex(sha + 7, md, n);
    EVP_DigestFinal_ex(f->git, md, &n);
    memcpy(git, "git:", 4);
    hub_hex(git + 4, md, n);
}

static void doubt_all(struct file *f)
{
    f->second = true;
    f->n_doubt = f->n_part;
    for (uint32_t i = 0; i < f->n_part; i++) f->part[i].doubtful = true;
}

/* All parts are in the digest, and nothing changes them any more. With the lock, which is given up for the
 * disk. */
static status finish(struct download *d, struct file *f, struct error *e)
{
    char sha[72], git[72];
    finish_digest(f, sha, git);
    const char *is = is_git(f) ? git : sha;
    if (!*f->item.digest || !strcmp(is, f->item.digest)) {
        pthread_mutex_unlock(&d->lock);
        status s = fdatasync(f->fd) == 0 ? OK : fail(e, ERR_IO, "%s: %s", f->item.path, strerror(errno));
        pthread_mutex_lock(&d->lock);
        TRY(s);
        memcpy(f->digest, sha, sizeof sha);
        f->done = true;
        return OK;
    }
    LOG(WARN, "hub", "digest_differs", "file=\"%s\" is=%s want=%s", f->item.name, is, f->item.digest);
    if (f->second && !f->n_doubt)
        return fail(e, ERR_FORMAT,
                    "%.80s: fetched twice, its digest is %.20s... and not %.20s... as it should be",
                    f->item.name, is, f->item.digest);
    if (!f->second) doubt_all(f);
    f->changed = false;
    f->next = 0;
    begin(f);
    return OK;
}

static status check_next(struct download *d, struct file *f, struct error *e)
{
    if (f->check_at == 0) begin(f);
    if (f->check_at == f->n_part) return finish(d, f, e);
    EVP_MD_CTX *sha = EVP_MD_CTX_new(), *git = EVP_MD_CTX_new();
    uint32_t i = f->check_at, crc, epoch = f->epoch;
    uint64_t at = part_start(f, i), n = part_size(f, i);
    status s = OK;
    EVP_MD_CTX_copy_ex(sha, f->sha);
    EVP_MD_CTX_copy_ex(git, f->git);
    pthread_mutex_unlock(&d->lock);
    bool read = read_part(f, at, n, sha, git, &crc);
    sync_file_range(f->fd, (off_t)at, (off_t)n,
                    SYNC_FILE_RANGE_WRITE); /* so that little is left for the end */
    pthread_mutex_lock(&d->lock);
    if (epoch != f->epoch) {
        f->check_at = 0;
    } else if (!read || crc != f->part[i].crc) {
        LOG(WARN, "hub", "part_damaged", "file=\"%s\" part=%u", f->item.name, i);
        file_drop_part(f, i);
        if (f->part[i].damaged)
            s = fail(e, ERR_IO, "%s: what is written there comes back different", f->item.path);
        f->part[i].damaged = true;
    } else {
        EVP_MD_CTX_copy_ex(f->sha, sha);
        EVP_MD_CTX_copy_ex(f->git, git);
        f->check_at++;
    }
    EVP_MD_CTX_free(sha);
    EVP_MD_CTX_free(git);
    return s;
}

/* ---- the thread ---------------------------------------------------------------------------------------- */

static struct file *next_file(struct download *d)
{
    for (size_t i = 0; i < d->n_file; i++)
        if (is_ready(&d->file[i])) return &d->file[i];
    return NULL;
}

void *download_check(void *arg)
{
    struct download *d = arg;
    int64_t save_at = clock_us() + DOWNLOAD_SAVE_MS * 1000;
    pthread_mutex_lock(&d->lock);
    while (!d->stop) {
        struct error e;
        struct file *f = next_file(d);
        status s = f ? check_next(d, f, &e) : OK;
        if (s != OK && d->result == OK) {
            d->result = s;
            d->error = e;
        }
        if (s != OK) break;
        if (clock_us() >= save_at) {
            pthread_mutex_unlock(&d->lock);
            download_save(d);
            pthread_mutex_lock(&d->lock);
            save_at = clock_us() + DOWNLOAD_SAVE_MS * 1000;
        } else if (!f) {
            struct timespec until;
            clock_gettime(CLOCK_MONOTONIC, &until);
            int64_t ns = until.tv_nsec + MAX(save_at - clock_us(), 0) * 1000;
            until.tv_sec += ns / 1000000000;
            until.tv_nsec = ns % 1000000000;
            pthread_cond_timedwait(&d->wake, &d->lock, &until);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}
