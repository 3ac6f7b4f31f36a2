/* Files by their digests: models/blobs/sha256-HEX, and models/sets/sha256-HEX/, folders in which the files of
 * a model that has many lie under their own names, as links. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "store/store_int.h"

enum { HEX = 64 };

static bool is_hex(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f'))) return false;
    return true;
}

status digest_read(char out[STORE_DIGEST_MAX], const char *text, struct error *e)
{
    out[0] = 0;
    if (!text || strlen(text) != 7 + HEX || memcmp(text, "sha256", 6) != 0 ||
        (text[6] != ':' && text[6] != '-') || !is_hex(text + 7, HEX))
        return fail(e, ERR_ARG,
                    "'%.80s' is no digest: those are sha256: and 64 hexadecimal digits in lower case",
                    text ? text : "");
    snprintf(out, STORE_DIGEST_MAX, "sha256:%s", text + 7);
    return OK;
}

void digest_path(const struct store *s, const char *digest, char *path, size_t cap)
{
    snprintf(path, cap, "%s/models/blobs/sha256-%s", s->home, digest + 7);
}

static void set_path(const struct store *s, const char *digest, char *path, size_t cap)
{
    snprintf(path, cap, "%s/models/sets/sha256-%s", s->home, digest + 7);
}

/* ---- computing them ---------------------------------------------------------------------------------- */

static void write_digest(char out[STORE_DIGEST_MAX], const unsigned char sum[32])
{
    size_t at = (size_t)snprintf(out, STORE_DIGEST_MAX, "sha256:");
    for (size_t i = 0; i < 32; i++) at += (size_t)snprintf(out + at, STORE_DIGEST_MAX - at, "%02x", sum[i]);
}

status digest_of_files(const struct store_file *file, size_t n, char out[STORE_DIGEST_MAX], struct error *e)
{
    unsigned char sum[EVP_MAX_MD_SIZE];
    status code = OK;
    if (n == 1) return digest_read(out, file[0].digest, e);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL)) code = fail(e, ERR_MEMORY, "no SHA-256");
    for (size_t i = 0; i < n && code == OK; i++) {
        char digest[STORE_DIGEST_MAX];
        code = digest_read(digest, file[i].digest, e);
        EVP_DigestUpdate(md, digest, strlen(digest));
        EVP_DigestUpdate(md, file[i].name, strlen(file[i].name) + 1);
    }
    if (code == OK && !EVP_DigestFinal_ex(md, sum, NULL)) code = fail(e, ERR_MEMORY, "no SHA-256");
    if (code == OK) write_digest(out, sum);
    EVP_MD_CTX_free(md);
    return code;
}

status store_digest_file(const char *path, char out[STORE_DIGEST_MAX], bool (*cancel)(void *user), void *user,
                         struct error *e)
{
    enum { PIECE = 1 << 20 };
    unsigned char sum[EVP_MAX_MD_SIZE], *piece = mem_alloc(PIECE);
    status code = OK;
    ssize_t n = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        code = fail(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    else if (!md || !EVP_DigestInit_ex(md, EVP_sha256(), NULL))
        code = fail(e, ERR_MEMORY, "no SHA-256");
    while (code == OK && (n = read(fd, piece, PIECE)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            code = fail(e, ERR_IO, "%s: %s", path, strerror(errno));
        else if (cancel && cancel(user))
            code = fail(e, ERR_CANCELLED, "cancelled");
        else if (!EVP_DigestUpdate(md, piece, (size_t)n))
            code = fail(e, ERR_MEMORY, "no SHA-256");
    }
    if (code == OK && !EVP_DigestFinal_ex(md, sum, NULL)) code = fail(e, ERR_MEMORY, "no SHA-256");
    if (code == OK) write_digest(out, sum);
    if (fd >= 0) close(fd);
    EVP_MD_CTX_free(md);
    free(piece);
    return code;
}

/* ---- blobs ------------------------------------------------------------------------------------------- */

status store_blob_path(struct store *s, const char *digest, char *path, size_t cap, struct error *e)
{
    char full[STORE_DIGEST_MAX], own[STORE_PATH_MAX];
    struct stat st;
    TRY(digest_read(full, digest, e));
    digest_path(s, full, own, sizeof own);
    if (path && (size_t)snprintf(path, cap, "%s", own) >= cap)
        return fail(e, ERR_LIMIT, "the path of a blob is too long");
    if (stat(own, &st) == 0 && S_ISREG(st.st_mode)) return OK;
    return fail(e, ERR_NOT_FOUND, "there is no blob %s", full);
}

status digest_expect(const char *file, const char *digest, bool (*cancel)(void *user), void *user,
                     struct error *e)
{
    char got[STORE_DIGEST_MAX];
    TRY(store_digest_file(file, got, cancel, user, e));
    if (!strcmp(got, digest)) return OK;
    return fail(e, ERR_FORMAT, "the digest is another: it should be %.20s... and is %.20s...: %s", digest,
                got, file);
}

/* A name is on the disk when its folder is. Some file systems cannot be asked. */
static bool sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && (fsync(fd) == 0 || errno == EINVAL);
    int why = errno;
    if (fd >= 0) close(fd);
    errno = why;
    return good;
}

static void blob_folder(const struct store *s, char *path, size_t cap)
{
    snprintf(path, cap, "%s/models/blobs", s->home);
}

/* On the disk before it gets the name that says it is whole, and its name before a model refers to it. */
static status move_in(const struct store *s, const char *file, const char *path, struct error *e)
{
    char folder[STORE_PATH_MAX];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", file, strerror(errno));
    int failed = fdatasync(fd) != 0 ? errno : 0;
    close(fd);
    blob_folder(s, folder, sizeof folder);
    if (!failed && (rename(file, path) != 0 || !sync_folder(folder))) failed = errno;
    return failed ? fail(e, ERR_IO, "%s: %s", file, strerror(failed)) : OK;
}

status store_blob_add(struct store *s, const char *file, const char *digest, bool check, struct error *e)
{
    char full[STORE_DIGEST_MAX], path[STORE_PATH_MAX];
    TRY(digest_read(full, digest, e));
    if (check) TRY(digest_expect(file, full, NULL, NULL, e));
    digest_path(s, full, path, sizeof path);
    if (access(path, F_OK) != 0) return move_in(s, file, path, e);
    if (unlink(file) != 0) return fail(e, ERR_IO, "%s: %s", file, strerror(errno));
    return OK;
}

/* ---- going ------------------------------------------------------------------------------------------- */

static status is_referred(struct store *s, const char *digest, bool *out, struct error *e)
{
    sqlite3_stmt *st;
    TRY(db_query(s, &st, e, "SELECT 1 FROM file WHERE digest = ? LIMIT 1", "t", digest));
    status code = db_next(s, st, e);
    *out = code == OK;
    if (code == OK) db_done(st);
    return code == ERR_NOT_FOUND ? OK : code;
}

void dropped_close(struct dropped *d)
{
    for (size_t i = 0; i < d->n; i++) close(d->fd[i]);
    free(d->fd);
    *d = (struct dropped){0};
}

status blob_drop(struct store *s, const char *digest, struct dropped *d, struct error *e)
{
    char path[STORE_PATH_MAX];
    bool referred;
    struct stat st;
    TRY(is_referred(s, digest, &referred, e));
    if (referred) return OK;
    digest_path(s, digest, path, sizeof path);
    if (stat(path, &st) != 0) return OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (unlink(path) != 0) {
        int why = errno;
        if (fd >= 0) close(fd);
        return fail(e, ERR_IO, "%s: %s", path, strerror(why));
    }
    d->bytes += (uint64_t)st.st_size;
    if (fd < 0) return OK;
    d->fd = mem_realloc(d->fd, d->n + 1, sizeof *d->fd);
    d->fd[d->n++] = fd;
    return OK;
}

/* An upload that nobody ended: sha256-HEX.upload- and six letters. */
static bool is_upload(const char *name)
{
    char first[STORE_DIGEST_MAX], digest[STORE_DIGEST_MAX];
    snprintf(first, sizeof first, "%.*s", 7 + HEX, name);
    return digest_read(digest, first, NULL) == OK && !strncmp(name + 7 + HEX, ".upload-", 8);
}

status store_sweep(struct store *s, int64_t older_than_s, uint64_t *freed_bytes, struct error *e)
{
    char folder[STORE_PATH_MAX], digest[STORE_DIGEST_MAX];
    struct dirent *d;
    struct stat st;
    uint64_t freed = 0;
    status code = OK;
    blob_folder(s, folder, sizeof folder);
    DIR *dir = opendir(folder);
    if (!dir) return fail(e, ERR_IO, "%s: %s", folder, strerror(errno));
    while (code == OK && (d = readdir(dir)) != NULL) {
        if (fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode) ||
            time(NULL) - st.st_ctime < older_than_s)
            continue;
        if (is_upload(d->d_name) && unlinkat(dirfd(dir), d->d_name, 0) == 0) freed += (uint64_t)st.st_size;
        if (digest_read(digest, d->d_name, NULL) != OK) continue;
        struct dropped gone = {0};
        pthread_mutex_lock(&s->lock);
        code = blob_drop(s, digest, &gone, e);
        pthread_mutex_unlock(&s->lock);
        freed += gone.bytes;
        dropped_close(&gone);
    }
    closedir(dir);
    if (freed_bytes) *freed_bytes = freed;
    return code;
}

/* ---- many files -------------------------------------------------------------------------------------- */

static status check_file_name(const char *name, struct error *e)
{
    size_t n = name ? strlen(name) : 0;
    if (!n || n > 200 || name[0] == '.' || strchr(name, '/'))
        return fail(e, ERR_ARG, "'%.80s' cannot be the name of a file of a model", name ? name : "");
    return OK;
}

status set_make(struct store *s, const char *digest, const struct store_file *file, size_t n, struct error *e)
{
    char folder[STORE_PATH_MAX], path[STORE_PATH_MAX + 256], target[128], one[STORE_DIGEST_MAX];
    set_path(s, digest, folder, sizeof folder);
    for (size_t i = 0; i < n; i++) TRY(check_file_name(file[i].name, e));
    if (mkdir(folder, 0755) != 0 && errno != EEXIST)
        return fail(e, ERR_IO, "%s: %s", folder, strerror(errno));
    for (size_t i = 0; i < n; i++) {
        TRY(digest_read(one, file[i].digest, e));
        snprintf(path, sizeof path, "%s/%s", folder, file[i].name);
        snprintf(target, sizeof target, "../../blobs/sha256-%s", one + 7);
        if (symlink(target, path) != 0 && errno != EEXIST)
            return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
    }
    return OK;
}

void set_main_path(const char *digest, const struct store_file *file, size_t n, char *out, size_t cap)
{
    for (size_t i = 0; i < n; i++) {
        size_t k = strlen(file[i].name);
        if (k <= 5 || strcasecmp(file[i].name + k - 5, ".gguf") != 0) continue;
        snprintf(out, cap, "models/sets/sha256-%s/%s", digest + 7, file[i].name);
        return;
    }
    snprintf(out, cap, "models/sets/sha256-%s", digest + 7);
}

status set_drop(struct store *s, const char *digest, struct error *e)
{
    char folder[STORE_PATH_MAX];
    sqlite3_stmt *st;
    struct dirent *d;
    TRY(db_query(s, &st, e, "SELECT 1 FROM version WHERE digest = ? AND owned LIMIT 1", "t", digest));
    status code = db_next(s, st, e);
    if (code == OK) db_done(st);
    if (code != ERR_NOT_FOUND) return code;
    set_path(s, digest, folder, sizeof folder);
    DIR *dir = opendir(folder);
    if (!dir) return OK; /* a model of one file has none */
    while ((d = readdir(dir)) != NULL) (void)unlinkat(dirfd(dir), d->d_name, 0);
    closedir(dir);
    if (rmdir(folder) != 0) return fail(e, ERR_IO, "%s: %s", folder, strerror(errno));
    return OK;
}
