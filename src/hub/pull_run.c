/* A job from its reference to a model in the store. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hub/pulls_int.h"

enum { COPY_BLOCK = 4 << 20, BUSY_MS = 300, MAX_PATH = 4096 };

static void set_phase(struct pulls *p, struct job *j, const char *phase)
{
    pthread_mutex_lock(&p->lock);
    j->phase = phase;
    pthread_mutex_unlock(&p->lock);
}

/* ---- what is to be fetched ------------------------------------------------------------------------------
 */

static void take_files(struct pulls *p, struct job *j, const struct hub_plan *plan)
{
    pthread_mutex_lock(&p->lock);
    pull_files_free(j->file, j->n_file);
    free(j->item);
    j->file = mem_zalloc(MAX(plan->n_file, 1), sizeof *j->file);
    j->item = mem_zalloc(MAX(plan->n_file, 1), sizeof *j->item);
    j->n_file = plan->n_file;
    for (size_t i = 0; i < plan->n_file; i++) {
        const struct hub_file *f = &plan->file[i];
        bool sha = !strncmp(f->digest, "sha256:", 7);
        j->file[i] = (struct pull_file){
            .name = mem_strdup(f->path), .digest = mem_strdup(sha ? f->digest : ""), .total = f->bytes};
        j->item[i] = SIZE_MAX;
    }
    pthread_mutex_unlock(&p->lock);
}

static void set_done(struct pulls *p, struct job *j, size_t i, const char *digest, uint64_t bytes)
{
    pthread_mutex_lock(&p->lock);
    struct pull_file *f = &j->file[i];
    free(f->digest);
    f->digest = mem_strdup(digest);
    f->bytes = f->total = bytes;
    f->done = true;
    j->item[i] = SIZE_MAX;
    pthread_mutex_unlock(&p->lock);
}

static bool is_stored(struct pulls *p, const char *digest, uint64_t bytes)
{
    char path[MAX_PATH];
    struct stat st;
    return !strncmp(digest, "sha256:", 7) &&
           store_blob_path(p->store, digest, path, sizeof path, NULL) == OK && stat(path, &st) == 0 &&
           (bytes == HUB_UNKNOWN || (uint64_t)st.st_size == bytes);
}

/* Where a file grows: named by its digest, or by where it comes from, so that it is found again. */
static char *partial_path(const struct pulls *p, const struct hub_file *f)
{
    struct buf b = {0};
    char hex[65];
    buf_addf(&b, "%s/", p->partial);
    if (*f->digest) {
        buf_adds(&b, f->digest);
        *strrchr(b.data, ':') = '-';
    } else {
        hub_sha256_hex(hex, f->url, strlen(f->url));
        buf_addf(&b, "url-%.32s", hex);
    }
    return b.data;
}

/* ---- fetching -------------------------------------------------------------------------------------------
 */

/* The files that are not there yet. n_item 0: all are. */
static struct download_item *missing(struct pulls *p, struct job *j, const struct hub_plan *plan,
                                     size_t *n_item)
{
    struct download_item *item = mem_zalloc(MAX(plan->n_file, 1), sizeof *item);
    *n_item = 0;
    for (size_t i = 0; i < plan->n_file; i++) {
        const struct hub_file *f = &plan->file[i];
        if (is_stored(p, f->digest, f->bytes)) {
            set_done(p, j, i, f->digest, f->bytes);
            continue;
        }
        char *path = partial_path(p, f);
        size_t k = 0;
        while (k < *n_item && strcmp(item[k].path, path) != 0) k++;
        j->item[i] = k;
        if (k < *n_item) { /* the same file under two names */
            free(path);
            continue;
        }
        item[(*n_item)++] = (struct download_item){path, f->url, f->path, f->digest, f->bytes};
    }
    return item;
}

static void free_items(struct download_item *item, size_t n)
{
    for (size_t i = 0; i < n; i++) free((char *)item[i].path);
    free(item);
}

static void set_download(struct pulls *p, struct job *j, struct download *d)
{
    pthread_mutex_lock(&p->lock);
    pull_measure(j);
    j->download = d;
    j->fetched = 0;
    pthread_mutex_unlock(&p->lock);
}

/* A page that says something, saved as a model, would be found out only when it is loaded. */
static status check_magic(const struct hub_file *f, const char *path, struct error *e)
{
    char magic[4] = {0};
    int fd = *f->digest || !hub_is_gguf(f->path) ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    bool good =
        fd < 0 || (read(fd, magic, sizeof magic) == sizeof magic && !memcmp(magic, "GGUF", sizeof magic));
    if (fd >= 0) close(fd);
    if (good) return OK;
    download_discard(path);
    return fail(e, ERR_FORMAT, "%.120s: what came is no GGUF file", f->url);
}

static status store_files(struct pulls *p, struct job *j, const struct hub_plan *plan,
                          const struct download *d, const struct download_item *item, struct error *e)
{
    for (size_t i = 0; i < plan->n_file; i++) {
        size_t k = j->item[i];
        if (k == SIZE_MAX) continue;
        const char *digest = download_digest(d, k);
        struct download_state state;
        TRY(check_magic(&plan->file[i], item[k].path, e));
        download_file_state(d, k, &state);
        if (!is_stored(p, digest, state.total)) TRY(store_blob_add(p->store, item[k].path, digest, false, e));
        download_discard(item[k].path);
        set_done(p, j, i, digest, state.total);
    }
    return OK;
}

static status fetch(struct pulls *p, struct job *j, struct hub_session *session, const struct hub_ref *ref,
                    const struct hub_plan *plan, struct error *e)
{
    const struct download_options o = {.source = hub_source_of(ref->kind),
                                       .session = session,
                                       .ref = ref,
                                       .connections = p->o.connections,
                                       .part_bytes = p->o.part_bytes};
    struct download *d = NULL;
    struct download_item *item = NULL;
    size_t n = 0;
    status s;
    for (;;) { /* while another job fetches the same file */
        item = missing(p, j, plan, &n);
        s = n ? download_new(&d, item, n, &o, e) : OK;
        if (s != ERR_BUSY) break;
        free_items(item, n);
        set_phase(p, j, "waiting");
        nanosleep(&(struct timespec){.tv_nsec = BUSY_MS * 1000000}, NULL);
        if (hub_cancelled(session)) return fail(e, ERR_CANCELLED, "cancelled");
    }
    if (s == OK && d) {
        set_download(p, j, d);
        s = download_run(d, e);
        set_download(p, j, NULL);
        set_phase(p, j, "storing");
        if (s == OK) s = store_files(p, j, plan, d, item, e);
    }
    download_free(d);
    free_items(item, n);
    return s;
}

/* ---- copying --------------------------------------------------------------------------------------------
 */

static bool stopped(void *user)
{
    return atomic_load(&((struct job *)user)->stop);
}

static status copy_bytes(struct pulls *p, struct job *j, size_t i, int from, int to, struct error *e)
{
    char *block = mem_alloc(COPY_BLOCK);
    status s = OK;
    ssize_t n = ioctl(to, FICLONE, from) == 0 ? 0 : 1; /* a file system that can share the bytes does */
    while (s == OK && n > 0) {
        n = read(from, block, COPY_BLOCK);
        for (ssize_t w, at = 0; s == OK && at < n; at += w)
            if ((w = write(to, block + at, (size_t)(n - at))) <= 0) n = -1;
        if (n < 0) s = fail(e, ERR_IO, "%s", strerror(errno));
        if (s == OK && stopped(j)) s = fail(e, ERR_CANCELLED, "cancelled");
        pthread_mutex_lock(&p->lock);
        if (n > 0) j->file[i].bytes += (uint64_t)n;
        pthread_mutex_unlock(&p->lock);
    }
    if (s == OK && fdatasync(to) != 0) s = fail(e, ERR_IO, "%s", strerror(errno));
    free(block);
    return s;
}

/* Of this job alone: another one may copy the same file under another name. */
static char *copy_path(const struct pulls *p, const struct job *j, size_t i)
{
    struct buf b = {0};
    buf_addf(&b, "%s/copy-%lld-%zu", p->partial, (long long)j->id, i);
    return b.data;
}

static status copy_file(struct pulls *p, struct job *j, size_t i, const struct hub_file *f, struct error *e)
{
    char digest[STORE_DIGEST_MAX], *path = copy_path(p, j, i);
    int from = open(f->url, O_RDONLY | O_CLOEXEC),
        to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    status s = from < 0 ? fail(e, ERR_IO, "%.120s: %s", f->url, strerror(errno))
               : to < 0 ? fail(e, ERR_IO, "%.120s: %s", path, strerror(errno))
                        : copy_bytes(p, j, i, from, to, e);
    if (from >= 0) close(from);
    if (to >= 0) close(to);
    if (s == OK) s = store_digest_file(path, digest, stopped, j, e);
    if (s == OK && !is_stored(p, digest, f->bytes)) s = store_blob_add(p->store, path, digest, false, e);
    if (s == OK) set_done(p, j, i, digest, f->bytes);
    unlink(path);
    free(path);
    return s;
}

/* ---- the model ------------------------------------------------------------------------------------------
 */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Options that the source brings are for a new name; those of one that is there stay as they are. */
static const char *new_options(struct pulls *p, const struct job *j, const struct hub_plan *plan)
{
    struct store_model there = {0};
    bool is_there = store_get(p->store, j->name, &there, NULL) == OK && !strcmp(there.name, j->name);
    store_model_deinit(&there);
    return is_there ? NULL : plan->details;
}

static status put(struct pulls *p, struct job *j, const struct hub_ref *ref, const struct hub_plan *plan,
                  struct error *e)
{
    struct store_file *file = mem_zalloc(MAX(plan->n_file, 1), sizeof *file);
    struct store_entry entry = {.name = j->name, .source = ref->text, .file = file, .n_file = plan->n_file};
    for (size_t i = 0; i < plan->n_file; i++)
        file[i] = (struct store_file){base_of(plan->file[i].path), j->file[i].digest};
    entry.options = new_options(p, j, plan);
    status s = store_put(p->store, &entry, NULL, e);
    free(file);
    return s;
}

static status put_in_place(struct pulls *p, struct job *j, const struct hub_ref *ref,
                           const struct hub_plan *plan, struct error *e)
{
    const struct store_entry entry = {
        .name = j->name, .source = ref->text, .path = plan->folder ? ref->repo : plan->file[plan->main].url};
    for (size_t i = 0; i < plan->n_file; i++) set_done(p, j, i, "", plan->file[i].bytes);
    return store_put(p->store, &entry, NULL, e);
}

static status run(struct pulls *p, struct job *j, struct hub_session *session, const struct hub_ref *ref,
                  struct hub_plan *plan, struct error *e)
{
    set_phase(p, j, "resolving");
    TRY(hub_plan(session, ref, plan, e));
    take_files(p, j, plan);
    if (ref->kind == HUB_LOCAL && !j->copy) return put_in_place(p, j, ref, plan, e);
    set_phase(p, j, ref->kind == HUB_LOCAL ? "copying" : "downloading");
    if (ref->kind != HUB_LOCAL) TRY(fetch(p, j, session, ref, plan, e));
    for (size_t i = 0; ref->kind == HUB_LOCAL && i < plan->n_file; i++)
        TRY(copy_file(p, j, i, &plan->file[i], e));
    set_phase(p, j, "storing");
    return put(p, j, ref, plan, e);
}

/* For may_connect; user: whether it said no. */
static bool public_only(void *user, const struct sockaddr *a)
{
    bool is = http_address_is_public(NULL, a);
    if (!is) *(bool *)user = true;
    return is;
}

status pull_run(struct pulls *p, struct job *j, struct error *e)
{
    struct hub_config hub = p->hub; /* strings stay the pulls' */
    struct hub_session session = {.config = &hub, .cancel = &j->stop};
    struct hub_ref ref = {0};
    struct hub_plan plan = {0};
    bool refused = false;
    status s = hub_ref_parse(&ref, j->reference, e);
    if (s == OK && ref.kind != HUB_HTTP && !ref.host) {
        hub.may_connect = NULL; /* the operator chose that host */
    } else if (j->public_only) {
        hub.may_connect = public_only;
        hub.may_connect_user = &refused;
    }
    if (s == OK) s = http_client_new(&session.client, e);
    if (s == OK) s = run(p, j, &session, &ref, &plan, e);
    if (s != OK && refused)
        s = fail_in(e, "hosts of this machine's networks are for clients that may name them "
                       "(corral serve --allow-private-hosts)");
    pthread_mutex_lock(&p->lock);
    if (s == OK) pull_measure(j);
    pthread_mutex_unlock(&p->lock);
    http_client_free(session.client);
    hub_session_deinit(&session);
    hub_plan_deinit(&plan);
    hub_ref_deinit(&ref);
    return s;
}
