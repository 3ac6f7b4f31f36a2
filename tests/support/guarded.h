/* Memory that ends where a page ends, with one behind it that must not be touched: what instructions read or write past
 * the end is a fault, also in code that no sanitizer looks at. */
#ifndef CORRAL_TEST_GUARDED_H
#define CORRAL_TEST_GUARDED_H

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"

static inline void *guarded_new(size_t n)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = round_up(n, page);
    uint8_t *p = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED || mprotect(p + size, page, PROT_NONE) != 0) abort();
    return p + size - n;
}

static inline void guarded_free(void *p, size_t n)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), size = round_up(n, page);
    munmap((uint8_t *)p + n - size, size + page);
}

#endif
