/* Entries as files of a folder that several processes share. A file is named by a hash of whose it is and
 * what it is called, says both, and was written last when it was used last. */
#include "api/recall_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"

enum { PATH_BYTES = 4096, NAME_HEX = 32 };

/* False: the folder's path is too long. */
static bool path_of(const char *folder, uint64_t tenant, const char *id, char out[PATH_BYTES])
{
    uint64_t h[2] = {0xCBF29CE484222325u ^ tenant, 0x84222325CBF29CE4u + tenant};
    for (const char *p = id; *p; p++)
        for (int i = 0; i < 2; i++) h[i] = (h[i] ^ (uint8_t)*p) * (i ? 0x9E3779B97F4A7C15u : 0x100000001B3u);
    return snprintf(out, PATH_BYTES, "%s/%016" PRIx64 "%016" PRIx64, folder, h[0], h[1]) < PATH_BYTES;
}

/* The folder is the user's, who may keep other things in it. */
static bool is_ours(const char *name)
{
    size_t n = strspn(name, "0123456789abcdef");
    return n == NAME_HEX && (!name[n] || (name[n] == '.' && strlen(name + n) == 7));
}

void recall_file_put(const char *folder, uint64_t tenant, const char *id, const json_t *v)
{
    char path[PATH_BYTES], part[PATH_BYTES + 8];
    json_t *all = json_pack("{s:s, s:I, s:O}", "id", id, "tenant", (json_int_t)tenant, "v", v);
    char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;
    if (!path_of(folder, tenant, id, path)) errno = ENAMETOOLONG, path[0] = 0;
    snprintf(part, sizeof part, "%s.XXXXXX", path);
    if (path[0]) (void)mkdir(folder, 0700);
    int fd = text && path[0] ? mkostemp(part, O_CLOEXEC) : -1;
    bool done = fd >= 0 && fd_write(fd, text, strlen(text)) && rename(part, path) == 0;
    if (!done) LOG(WARN, "api", "remember", "%s: %s", folder, text ? strerror(errno) : "no JSON");
    if (fd >= 0 && !done) unlink(part);
    if (fd >= 0) close(fd);
    free(text);
    json_decref(all);
}

json_t *recall_file_get(const char *folder, uint64_t tenant, const char *id, int64_t ttl_ns)
{
    char path[PATH_BYTES];
    struct stat st;
    json_t *v = NULL;
    if (!path_of(folder, tenant, id, path)) return NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return NULL;
    if (fstat(fd, &st) == 0 && st.st_mtim.tv_sec + ttl_ns / 1000000000 >= time(NULL)) {
        json_t *all = json_loadfd(fd, 0, NULL);
        const char *is = json_string_value(json_object_get(all, "id"));
        if (is && !strcmp(is, id) && (uint64_t)json_integer_value(json_object_get(all, "tenant")) == tenant)
            v = json_incref(json_object_get(all, "v"));
        json_decref(all);
        (void)utimensat(AT_FDCWD, path, NULL, 0);
    }
    close(fd);
    return v;
}

bool recall_file_drop(const char *folder, uint64_t tenant, const char *id)
{
    char path[PATH_BYTES];
    return path_of(folder, tenant, id, path) && unlink(path) == 0;
}

/* ---- not too many -------------------------------------------------------------------------------------- */

struct found {
    char name[64];
    time_t used;
    size_t bytes;
};

static int newest_first(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return (x->used < y->used) - (x->used > y->used);
}

void recall_file_trim(const char *folder, size_t max_bytes, uint32_t max_entries, int64_t ttl_ns)
{
    DIR *dir = opendir(folder);
    struct found *list = NULL;
    size_t n = 0, cap = 0, bytes = 0;
    if (!dir) return;
    for (struct dirent *d; (d = readdir(dir));) {
        struct stat st;
        if (!is_ours(d->d_name) || fstatat(dirfd(dir), d->d_name, &st, 0) != 0 || !S_ISREG(st.st_mode))
            continue;
        if (n == cap) list = mem_realloc(list, cap = MAX(64, 2 * cap), sizeof *list);
        list[n] = (struct found){.used = st.st_mtim.tv_sec, .bytes = (size_t)st.st_size};
        memcpy(list[n++].name, d->d_name, strlen(d->d_name) + 1);
    }
    if (n) qsort(list, n, sizeof *list, newest_first);
    const time_t oldest = time(NULL) - (time_t)(ttl_ns / 1000000000);
    for (size_t i = 0; i < n; i++) {
        bytes += list[i].bytes;
        if (i >= max_entries || bytes > max_bytes || list[i].used < oldest)
            (void)unlinkat(dirfd(dir), list[i].name, 0);
    }
    free(list);
    closedir(dir);
}
