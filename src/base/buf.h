/* A growable byte buffer with a ceiling set by its owner.
 *
 * data is NUL-terminated whenever it is not NULL (the NUL is not counted in n), so text can be used as a C
 * string. Going over the ceiling or out of memory sets `failed`, keeps what was there, and every later
 * append is a no-op: check once at the end. */
#ifndef CORRAL_BUF_H
#define CORRAL_BUF_H

#include "base/base.h"

struct buf {
    char  *data;
    size_t n, cap, max; /* max 0: no ceiling */
    bool   failed;
};

void buf_init(struct buf *b, size_t max); /* a zeroed struct buf is also ready, without a ceiling */
void buf_deinit(struct buf *b);
void buf_reset(struct buf *b); /* empty, capacity kept, failure cleared */
void buf_add(struct buf *b, const void *p, size_t n);
void buf_adds(struct buf *b, const char *s);
void buf_addc(struct buf *b, char c);
void buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_drop(struct buf *b, size_t n); /* remove the first n bytes */
/* Room for n more bytes, to be filled by the caller, who then adds n to b->n; NULL when failed. */
char *buf_room(struct buf *b, size_t n);
/* The whole of a file or stream; ERR_LIMIT over b->max. */
struct error;
status buf_read_fd(struct buf *b, int fd, struct error *e);
status buf_read_file(struct buf *b, const char *path, struct error *e);
/* All of n bytes, however many calls that takes; false: errno says why not. */
bool fd_write(int fd, const void *p, size_t n);

/* JSON text, for streams and --json output where no document is built. s is UTF-8; bytes that are not
 * become U+FFFD. Adds the quotes. */
void buf_json_str(struct buf *b, const char *s, size_t n);
void buf_json_double(struct buf *b, double v); /* shortest that reads back; null when not finite */

#endif
