#include "base/pages.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* The address sanitizer shall see what goes beyond the end, as it does behind malloc's memory. */
#if defined(CORRAL_SANITIZED) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#include <sanitizer/asan_interface.h>
enum { GUARD = 4096 };
#else
#define ASAN_POISON_MEMORY_REGION(at, n)   ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(at, n) ((void)0)
enum { GUARD = 0 };
#endif
enum { HUGE_PAGE = 2 << 20 }; /* of x86, and of ARM with pages of 4 KiB; elsewhere alignment is all it is */

static size_t mapped_bytes(size_t n)
{
    return round_up(n, (size_t)sysconf(_SC_PAGESIZE)) + GUARD;
}

/* Address space is taken larger than needed and cut at both ends, so that it begins with a huge page. */
status pages_open(struct pages *p, size_t n, struct error *e)
{
    *p = (struct pages){0};
    n = MAX(n, (size_t)1);
    if (n > SIZE_MAX / 2) return fail(e, ERR_MEMORY, "no memory for %zu bytes", n);
    const size_t want = mapped_bytes(n), taken = want + HUGE_PAGE;
    uint8_t *at = mmap(NULL, taken, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return fail(e, ERR_MEMORY, "no memory for %.1f MiB: %s", (double)n / 0x1p20, strerror(errno));
    uint8_t *data = (uint8_t *)round_up((uintptr_t)at, HUGE_PAGE);
    if (data > at) munmap(at, (size_t)(data - at));
    munmap(data + want, (size_t)(at + taken - (data + want)));
    (void)madvise(data, want, MADV_HUGEPAGE); /* only advice */
    ASAN_POISON_MEMORY_REGION(data + n, want - n);
    *p = (struct pages){data, n};
    return OK;
}

void pages_close(struct pages *p)
{
    if (p->data) {
        ASAN_UNPOISON_MEMORY_REGION(p->data, mapped_bytes(p->n));
        munmap(p->data, mapped_bytes(p->n));
    }
    *p = (struct pages){0};
}

/* ---- locking ----------------------------------------------------------------------------------------- */

static int by_address(const void *a, const void *b)
{
    const uint8_t *x = ((const struct span *)a)->data, *y = ((const struct span *)b)->data;
    return (x > y) - (x < y);
}

/* Whole pages, each once: locks do not count how often. */
static size_t join(struct span *span, size_t n)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    size_t n_out = 0;
    qsort(span, n, sizeof *span, by_address);
    for (size_t i = 0; i < n; i++) {
        uintptr_t from = (uintptr_t)span[i].data / page * page,
                  to = round_up((uintptr_t)span[i].data + span[i].n, page);
        if (!span[i].n) continue;
        struct span *last = n_out ? &span[n_out - 1] : NULL;
        if (last && from <= (uintptr_t)last->data + last->n)
            last->n = MAX(last->n, to - (uintptr_t)last->data);
        else
            span[n_out++] = (struct span){(const uint8_t *)from, to - from};
    }
    return n_out;
}

/* As far as this process may raise it by itself. */
static void raise_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_MEMLOCK, &r) != 0 || r.rlim_cur == r.rlim_max) return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_MEMLOCK, &r);
}

static status no_lock(int why, size_t need, struct error *e)
{
    struct rlimit r = {0};
    const double mib = (double)need / 0x1p20;
    if ((why != ENOMEM && why != EPERM && why != EAGAIN) || getrlimit(RLIMIT_MEMLOCK, &r) != 0 ||
        r.rlim_cur >= need)
        return fail(e, ERR_MEMORY, "%.1f MiB cannot be locked in memory: %s", mib, strerror(why));
    return fail(
        e, ERR_LIMIT,
        "%.1f MiB cannot be locked in memory, this process may lock %.1f MiB (RLIMIT_MEMLOCK): raise it "
        "with ulimit -l unlimited, LimitMEMLOCK=infinity in a systemd unit, or --ulimit memlock=-1 for "
        "a container",
        mib, (double)r.rlim_cur / 0x1p20);
}

status pages_lock(struct span *span, size_t *n, struct error *e)
{
    size_t need = 0, i = 0;
    *n = join(span, *n);
    for (size_t k = 0; k < *n; k++) need += span[k].n;
    raise_limit();
    while (i < *n && mlock(span[i].data, span[i].n) == 0) i++;
    if (i == *n) return OK;
    const int why = errno;
    pages_unlock(span, i);
    /* mlock leaves locked what it had done of the stretch that failed. */
    (void)munlock(span[i].data, span[i].n);
    return no_lock(why, need, e);
}

void pages_unlock(const struct span *span, size_t n)
{
    for (size_t i = 0; i < n; i++) (void)munlock(span[i].data, span[i].n);
}

uint64_t pages_locked_bytes(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long kib = 0;
    if (!f) return 0;
    while (fgets(line, sizeof line, f) && sscanf(line, "VmLck: %llu", &kib) != 1) continue;
    fclose(f);
    return (uint64_t)kib * 1024;
}
