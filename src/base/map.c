#include "base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

status map_open(struct map *m, const char *path, struct error *e)
{
    struct stat st;
    status s = OK;
    *m = (struct map){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0) {
        s = fail(e, ERR_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        s = fail(e, ERR_ARG, "%s: not a regular file", path);
        goto out;
    }
    if (st.st_size == 0) goto out;
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        s = fail(e, ERR_IO, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size, strerror(errno));
        goto out;
    }
    /* Only advice. From Linux 6.16 on ext4, xfs and others read a file that is not in memory yet in huge
     * pages then. */
    (void)madvise(p, (size_t)st.st_size, MADV_HUGEPAGE);
    m->data = p;
    m->n = (size_t)st.st_size;
out:
    close(fd);
    return s;
}

void map_close(struct map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->n);
    *m = (struct map){0};
}
