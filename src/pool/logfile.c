#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "pool/pool_int.h"

enum { LOG_MAX_BYTES = 4 << 20 };

static void open_file(struct logfile *l)
{
    struct stat st;
    l->fd = open(l->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (l->fd < 0) {
        LOG(WARN, "pool", "log", "%s: %s", l->path, strerror(errno));
        return;
    }
    l->bytes = fstat(l->fd, &st) == 0 ? (size_t)st.st_size : 0;
}

void logfile_open(struct logfile *l, const char *path)
{
    *l = (struct logfile){.path = mem_strdup(path), .fd = -1};
    open_file(l);
}

/* One file of age is kept: a model's log is never larger than twice the limit. */
static void rotate(struct logfile *l)
{
    size_t n = strlen(l->path) + 3;
    char *old = mem_alloc(n);
    snprintf(old, n, "%s.1", l->path);
    close(l->fd);
    if (rename(l->path, old) != 0) unlink(l->path);
    free(old);
    open_file(l);
}

void logfile_add(struct logfile *l, const char *p, size_t n)
{
    if (!n) return;
    size_t keep = MIN(n, sizeof l->tail - 1), old = MIN(l->n_tail, sizeof l->tail - 1 - keep);
    memmove(l->tail, l->tail + l->n_tail - old, old);
    memcpy(l->tail + old, p + n - keep, keep);
    l->n_tail = old + keep;
    l->tail[l->n_tail] = 0;
    if (l->fd < 0) return;
    if (l->bytes + n > LOG_MAX_BYTES) rotate(l);
    ssize_t k = l->fd < 0 ? -1 : write(l->fd, p, n); /* a full disk costs the log, nothing else */
    if (k > 0) l->bytes += (size_t)k;
}

void logfile_close(struct logfile *l)
{
    if (l->fd >= 0) close(l->fd);
    free(l->path);
    *l = (struct logfile){.fd = -1};
}

void logfile_last(const struct logfile *l, char *out, size_t cap)
{
    size_t end = l->n_tail;
    while (end && strchr(" \t\r\n", l->tail[end - 1])) end--;
    size_t begin = end;
    while (begin && l->tail[begin - 1] != '\n') begin--;
    size_t n = MIN(end - begin, cap - 1);
    memcpy(out, l->tail + begin, n);
    out[n] = 0;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)out[i] < ' ') out[i] = ' ';
}
