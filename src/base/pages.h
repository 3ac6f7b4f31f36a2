/* Large memory straight from the system: in huge pages where it has them to give. And any memory, locked. */
#ifndef CORRAL_PAGES_H
#define CORRAL_PAGES_H

#include "base/base.h"

struct pages {
    uint8_t *data; /* aligned to a huge page */
    size_t   n;
};
/* Zeroed, n bytes of address space: what is not touched takes no memory. */
status pages_open(struct pages *p, size_t n, struct error *e);
void   pages_close(struct pages *p); /* a zeroed one is fine */

struct span { const uint8_t *data; size_t n; };
/* Bring these stretches of memory in and keep them there, all or none; the list is sorted and joined to whole
 * pages, and *n is what is left of it. ERR_LIMIT, with what raises the limit: the process may not lock so much. */
status pages_lock(struct span *span, size_t *n, struct error *e);
void   pages_unlock(const struct span *span, size_t n); /* as pages_lock left it */
/* What this process has locked now, by the kernel's count. */
uint64_t pages_locked_bytes(void);

#endif
