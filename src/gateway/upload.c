/* POST /api/blobs/{digest}: a file that a client brings. Its bytes are written by errands, a piece after the
 * other, while the next one comes in; when the disk is slower than the network the client is asked to wait.
 * The last errand makes a blob of the file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gateway/models.h"

enum { PIECE_BYTES = 1 << 20 };

/* The errand's while one runs, else the loop's. */
struct file {
    atomic_int users; /* the upload, and an errand */
    char *digest, path[4096];
    int fd;     /* < 0: not opened yet */
    bool there; /* the blob is known: what comes is dropped */
};

struct upload {
    struct gateway *g;
    struct http_exchange *x;
    struct file *file;
    struct buf bytes; /* that no errand has yet */
    bool last, answered;
    struct errand *errand; /* NULL: none is under way */
};

static void file_drop(struct file *f)
{
    if (atomic_fetch_sub(&f->users, 1) > 1) return;
    if (f->fd >= 0) {
        close(f->fd);
        unlink(f->path); /* gone already if it became a blob */
    }
    free(f->digest);
    free(f);
}

/* ---- in an errand ------------------------------------------------------------------------------------ */

struct piece {
    struct file *file;
    struct buf bytes;
    bool last;
};

static status open_file(struct store *store, struct file *f, struct error *e)
{
    status s = store_blob_path(store, f->digest, f->path, sizeof f->path, e);
    f->there = s == OK;
    if (s != ERR_NOT_FOUND) return s;
    size_t n = strlen(f->path);
    snprintf(f->path + n, sizeof f->path - n, ".upload-XXXXXX");
    f->fd = mkostemp(f->path, O_CLOEXEC);
    return f->fd >= 0 ? OK : fail(e, ERR_IO, "%s", strerror(errno));
}

/* The answer's code stays 0 as long as there is nothing to say. */
static void write_piece(struct errand *r, const struct piece *p)
{
    struct file *f = p->file;
    struct store *store = r->g->o.store;
    struct error e = {0};
    if (f->fd < 0 && !f->there && open_file(store, f, &e) != OK)
        errand_error(r, &e);
    else if (f->there)
        r->code = p->last ? 200 : 0;
    else if (!fd_write(f->fd, p->bytes.data, p->bytes.n))
        errand_fail(r, errno == ENOSPC ? 507 : 500, "%s",
                    errno == ENOSPC ? "no space is left on the disk of the store" : strerror(errno));
    else if (p->last && store_blob_add(store, f->path, f->digest, true, &e) == OK)
        r->code = 201;
    else if (p->last)
        errand_error(r, &e);
}

static void take_piece(struct errand *r)
{
    struct piece *p = r->user;
    if (!errand_cancelled(r)) write_piece(r, p);
    file_drop(p->file);
    buf_deinit(&p->bytes);
    free(p);
}

/* ---- on the loop ------------------------------------------------------------------------------------- */

/* The file is opened at once; then pieces are worth an errand when they are large, or the last. */
static void hand_on(struct upload *u)
{
    struct file *f = u->file;
    if (u->errand || u->answered) return;
    bool opened = f->fd >= 0 || f->there;
    if (opened && u->bytes.n < PIECE_BYTES && !u->last) return;
    struct piece *p = mem_zalloc(1, sizeof *p);
    *p = (struct piece){.file = f, .bytes = u->bytes, .last = u->last};
    u->bytes = (struct buf){0};
    atomic_fetch_add(&f->users, 1);
    u->errand = errand_start(u->x, u->g, take_piece, p);
}

static void upload_wake(struct http_exchange *x, void *user)
{
    struct upload *u = user;
    if (!u->errand || u->answered || !errand_done(u->errand)) return;
    http_pause_body(x, false);
    if (u->errand->code) {
        u->answered = true;
        errand_answer(u->errand, x);
        return;
    }
    errand_leave(u->errand);
    u->errand = NULL;
    hand_on(u);
}

static void upload_body(struct http_exchange *x, void *user, const char *p, size_t n, bool last)
{
    struct upload *u = user;
    if (u->answered) return;
    buf_add(&u->bytes, p, n);
    u->last = last;
    hand_on(u);
    if (u->errand && u->bytes.n >= PIECE_BYTES) http_pause_body(x, true);
}

static void upload_end(struct http_exchange *x, void *user, bool complete)
{
    struct upload *u = user;
    if (u->errand) errand_leave(u->errand);
    file_drop(u->file);
    buf_deinit(&u->bytes);
    free(u);
}

static const struct http_responder uploader = {.wake = upload_wake, .body = upload_body, .end = upload_end};

static void x_upload(struct http_exchange *x, void *gateway)
{
    struct gateway *g = gateway;
    if (!g->o.store) {
        gateway_refuse(x, 501, NULL, "this server has no store of models");
        return;
    }
    struct upload *u = mem_zalloc(1, sizeof *u);
    *u = (struct upload){.g = g, .x = x, .file = mem_zalloc(1, sizeof *u->file)};
    u->file->users = 1;
    u->file->fd = -1;
    u->file->digest = mem_strdup(http_param(x, "digest"));
    http_attach(x, &uploader, u);
    hand_on(u);
}

static void has_blob(struct errand *r)
{
    struct error e;
    if (!errand_store(r)) return;
    status s = store_blob_path(r->g->o.store, r->param, NULL, 0, &e);
    if (s != OK) errand_error(r, &e);
}

static void x_has_blob(struct http_exchange *x, void *gateway)
{
    errand_run(x, gateway, has_blob);
}

static const struct http_route rows[] = {
    {"GET", "/api/blobs/{digest}", x_has_blob, NULL, HTTP_BODY_NONE, HTTP_ROLE_ADMIN},
    {"POST", "/api/blobs/{digest}", x_upload, NULL, HTTP_BODY_STREAM, HTTP_ROLE_ADMIN},
};
const struct gateway_routes upload_routes = {rows, COUNT_OF(rows)};
