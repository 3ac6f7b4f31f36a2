/* A file that is being fetched, and PATH.parts beside it, from which a later process goes on.
 *
 * What PATH.parts says is believed only as far as it belongs to the same thing (the same digest, or the same
 * URL and ETag); whether the bytes are on the disk is seen from their checksums, by the checking thread. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "hub/download_int.h"

enum { SIDE_VERSION = 1, SIDE_MAX = 8 << 20, SPARE_BYTES = 16 << 20 };

/* ---- PATH.parts -------------------------------------------------------------------------------------- */

void file_state(const struct file *f, struct buf *out)
{
    buf_addf(out, "{\"version\":%d,\"url\":", SIDE_VERSION);
    buf_json_str(out, f->item.url, strlen(f->item.url));
    buf_addf(out, ",\"digest\":\"%s\",\"bytes\":%llu,\"part_bytes\":%llu,\"validator\":", f->item.digest,
             (unsigned long long)f->bytes, (unsigned long long)f->part_bytes);
    buf_json_str(out, f->validator ? f->validator : "", f->validator ? strlen(f->validator) : 0);
    buf_adds(out, ",\"parts\":[");
    for (uint32_t i = 0; i < f->n_part; i++)
        buf_addf(out, "%s[%llu,%u]", i ? "," : "", (unsigned long long)f->part[i].have, f->part[i].crc);
    buf_adds(out, "]}\n");
}

status file_save(const struct file *f, const struct buf *text, struct error *e)
{
    struct buf temp = {0};
    buf_addf(&temp, "%s.new", f->side);
    int fd = open(temp.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool good = fd >= 0 && write(fd, text->data, text->n) == (ssize_t)text->n && fdatasync(fd) == 0;
    if (fd >= 0 && close(fd) != 0) good = false;
    if (good) good = rename(temp.data, f->side) == 0;
    status s = good ? OK : fail(e, ERR_IO, "%s: %s", temp.data, strerror(errno));
    buf_deinit(&temp);
    return s;
}

static uint64_t member(const json_t *o, const char *name)
{
    json_int_t v = json_integer_value(json_object_get(o, name));
    return v > 0 ? (uint64_t)v : 0;
}

static bool says(const json_t *o, const char *name, const char *value)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s && !strcmp(s, value);
}

static bool is_about(const json_t *o, const struct file *f)
{
    if (*f->item.digest) return says(o, "digest", f->item.digest) && member(o, "bytes") == f->item.bytes;
    return says(o, "digest", "") && says(o, "url", f->item.url) && !says(o, "validator", "") &&
           (f->item.bytes == HUB_UNKNOWN || f->item.bytes == member(o, "bytes"));
}

static bool take_parts(struct file *f, const json_t *parts)
{
    if (json_array_size(parts) != f->n_part) return false;
    for (uint32_t i = 0; i < f->n_part; i++) {
        const json_t *p = json_array_get(parts, i);
        json_int_t have = json_integer_value(json_array_get(p, 0)),
                   crc = json_integer_value(json_array_get(p, 1));
        if (have < 0 || (uint64_t)have > part_size(f, i) || crc < 0 || crc > UINT32_MAX) return false;
        f->part[i].have = (uint64_t)have;
        f->part[i].crc = (uint32_t)crc;
        f->have += f->part[i].have;
    }
    return true;
}

static void take_up(struct file *f, const json_t *o)
{
    struct stat st;
    uint64_t bytes = member(o, "bytes"), part_bytes = member(o, "part_bytes"), wanted = f->part_bytes;
    if (member(o, "version") != SIDE_VERSION || !is_about(o, f) || !bytes || !part_bytes ||
        bytes > INT64_MAX || bytes / part_bytes >= DOWNLOAD_MAX_PARTS || fstat(f->fd, &st) != 0 ||
        (uint64_t)st.st_size != bytes)
        return;
    f->part_bytes = part_bytes;
    file_resize(f, bytes);
    if (take_parts(f, json_object_get(o, "parts"))) {
        f->validator = mem_strdup(json_string_value(json_object_get(o, "validator")));
        return;
    }
    file_reset(f);
    f->part_bytes = wanted;
}

static void read_side(struct file *f)
{
    struct buf b;
    buf_init(&b, SIDE_MAX);
    if (buf_read_file(&b, f->side, NULL) == OK) {
        json_t *o = json_loadb(b.data, b.n, 0, NULL);
        if (o) take_up(f, o);
        json_decref(o);
    }
    buf_deinit(&b);
}

/* ---- the file ---------------------------------------------------------------------------------------- */

void file_resize(struct file *f, uint64_t bytes)
{
    while ((bytes + f->part_bytes - 1) / f->part_bytes > DOWNLOAD_MAX_PARTS) f->part_bytes *= 2;
    f->bytes = bytes;
    f->n_part = (uint32_t)((bytes + f->part_bytes - 1) / f->part_bytes);
    f->part = mem_zalloc(MAX(f->n_part, 1), sizeof *f->part);
    f->have = 0;
}

void file_reset(struct file *f)
{
    free(f->part);
    free(f->validator);
    f->part = NULL;
    f->validator = NULL;
    f->n_part = f->next = f->check_at = 0;
    f->have = 0;
    f->bytes = HUB_UNKNOWN;
    f->second = f->changed = false;
    f->n_doubt = 0;
    f->epoch++;
    f->dirty = true;
}

void file_drop_part(struct file *f, uint32_t i)
{
    f->have -= f->part[i].have;
    f->part[i].have = 0;
    f->part[i].crc = 0;
    f->next = MIN(f->next, i);
    f->dirty = true;
}

/* A file that another process renamed since we opened it is not ours to write to. */
static bool is_still_there(int fd, const char *path)
{
    struct stat a, b;
    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_ino == b.st_ino && a.st_dev == b.st_dev;
}

status file_open(struct file *f, const struct download_item *item, uint64_t part_bytes, struct error *e)
{
    struct buf side = {0};
    f->item = (struct download_item){.path = mem_strdup(item->path),
                                     .url = mem_strdup(item->url),
                                     .name = mem_strdup(item->name),
                                     .digest = mem_strdup(item->digest),
                                     .bytes = item->bytes};
    f->bytes = HUB_UNKNOWN;
    f->part_bytes = part_bytes;
    buf_addf(&side, "%s.parts", item->path);
    f->side = side.data;
    f->sha = EVP_MD_CTX_new();
    f->git = EVP_MD_CTX_new();
    f->fd = open(item->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (f->fd < 0) return fail(e, ERR_IO, "%s: %s", item->path, strerror(errno));
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0 || !is_still_there(f->fd, item->path))
        return fail(e, ERR_BUSY, "%s: another download fetches this", item->name);
    read_side(f);
    if (f->bytes == HUB_UNKNOWN && item->bytes != HUB_UNKNOWN) file_resize(f, item->bytes);
    return OK;
}

void file_close(struct file *f)
{
    if (f->fd >= 0) close(f->fd);
    free((char *)f->item.path);
    free((char *)f->item.url);
    free((char *)f->item.name);
    free((char *)f->item.digest);
    free(f->side);
    free(f->part);
    free(f->validator);
    EVP_MD_CTX_free(f->sha);
    EVP_MD_CTX_free(f->git);
}

void download_discard(const char *path)
{
    struct buf side = {0};
    buf_addf(&side, "%s.parts", path);
    unlink(side.data);
    unlink(path);
    buf_deinit(&side);
}

/* ---- room -------------------------------------------------------------------------------------------- */

static uint64_t missing_bytes(const struct download *d)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < d->n_file; i++) {
        struct stat st;
        const struct file *f = &d->file[i];
        if (f->bytes == HUB_UNKNOWN || fstat(f->fd, &st) != 0) continue;
        uint64_t there = (uint64_t)st.st_blocks * 512;
        if (there < f->bytes && !checked_add(sum, f->bytes - there, &sum)) return UINT64_MAX;
    }
    return sum;
}

/* The file has its size and, where the file system knows how, its blocks. */
static status take_room(const struct file *f, struct error *e)
{
    char size[24];
    int why = 0;
    if (f->bytes == HUB_UNKNOWN) return OK;
    if (f->bytes > INT64_MAX || ftruncate(f->fd, (off_t)f->bytes) != 0)
        why = f->bytes > INT64_MAX ? EFBIG : errno;
    if (!why && f->bytes && fallocate(f->fd, 0, 0, (off_t)f->bytes) != 0 && errno == ENOSPC) why = errno;
    return why ? fail(e, ERR_LIMIT, "%.120s, of %s: %s", f->item.path, hub_size(size, f->bytes),
                      strerror(why))
               : OK;
}

void file_give_back(const struct file *f)
{
    for (uint32_t i = 0; i < f->n_part; i++) {
        uint64_t at = part_start(f, i) + f->part[i].have, n = part_size(f, i) - f->part[i].have;
        if (n) (void)fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)n);
    }
}

status download_take_room(const struct download *d, struct error *e)
{
    uint64_t needed = missing_bytes(d), room = UINT64_MAX;
    struct statvfs v;
    char *folder = mem_strdup(d->file[0].item.path), need[24], left[24];
    status s = OK;
    if (needed && statvfs(dirname(folder), &v) == 0) room = (uint64_t)v.f_bavail * v.f_frsize;
    if (needed && (room < needed || room - needed < SPARE_BYTES))
        s = fail(e, ERR_LIMIT, "not enough room in %.120s: %s are needed, %s are free", folder,
                 hub_size(need, needed), hub_size(left, room));
    for (size_t i = 0; s == OK && i < d->n_file; i++) s = take_room(&d->file[i], e);
    free(folder);
    return s;
}
