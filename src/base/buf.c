#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_deinit(struct buf *b)
{
    free(b->data);
    *b = (struct buf){0};
}

void buf_reset(struct buf *b)
{
    b->n = 0;
    b->failed = false;
    if (b->data) b->data[0] = 0;
}

char *buf_room(struct buf *b, size_t n)
{
    size_t need;
    if (b->failed) return NULL;
    if (!checked_add(b->n, n, &need) || need == SIZE_MAX || (b->max && need > b->max)) {
        b->failed = true;
        return NULL;
    }
    need++; /* the NUL */
    if (need > b->cap) {
        size_t cap = MAX(b->cap + b->cap / 2, MAX(need, (size_t)64));
        char *p = realloc(b->data, cap);
        if (!p) {
            b->failed = true;
            return NULL;
        }
        b->data = p;
        b->cap = cap;
    }
    b->data[b->n + n] = 0;
    return b->data + b->n;
}

void buf_add(struct buf *b, const void *p, size_t n)
{
    char *to = buf_room(b, n);
    if (!to) return;
    if (n) memcpy(to, p, n);
    b->n += n;
}

void buf_adds(struct buf *b, const char *s)
{
    buf_add(b, s, strlen(s));
}
void buf_addc(struct buf *b, char c)
{
    buf_add(b, &c, 1);
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *to = n < 0 ? NULL : buf_room(b, (size_t)n);
    if (!to) return;
    va_start(ap, fmt);
    vsnprintf(to, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->n += (size_t)n;
}

void buf_drop(struct buf *b, size_t n)
{
    ASSERT(n <= b->n);
    if (n == 0) return;
    memmove(b->data, b->data + n, b->n - n);
    b->n -= n;
    b->data[b->n] = 0;
}

status buf_read_fd(struct buf *b, int fd, struct error *e)
{
    for (;;) {
        char tmp[65536];
        ssize_t got = read(fd, tmp, sizeof tmp);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail(e, ERR_IO, "read: %s", strerror(errno));
        if (got == 0) return OK;
        buf_add(b, tmp, (size_t)got);
        if (b->failed) return fail(e, ERR_LIMIT, "input is larger than %zu bytes", b->max);
    }
}

status buf_read_file(struct buf *b, const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail(e, ERR_IO, "%s: %s", path, strerror(errno));
    status s = buf_read_fd(b, fd, e);
    close(fd);
    return s == OK ? OK : fail_in(e, "%s", path);
}

void buf_json_str(struct buf *b, const char *s, size_t n)
{
    static const char hex[] = "0123456789abcdef";
    buf_addc(b, '"');
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x80) {
            size_t len = utf8_valid_len(s + i, n - i);
            if (len) {
                buf_add(b, s + i, len);
                i += len;
            } else {
                buf_adds(b, "\xEF\xBF\xBD");
                i++;
            }
            continue;
        }
        i++;
        switch (c) {
        case '"': buf_adds(b, "\\\""); break;
        case '\\': buf_adds(b, "\\\\"); break;
        case '\n': buf_adds(b, "\\n"); break;
        case '\r': buf_adds(b, "\\r"); break;
        case '\t': buf_adds(b, "\\t"); break;
        default:
            if (c < 0x20 || c == 0x7f) {
                char u[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
                buf_add(b, u, sizeof u);
            } else {
                buf_addc(b, (char)c);
            }
        }
    }
    buf_addc(b, '"');
}

void buf_json_double(struct buf *b, double v)
{
    char text[32];
    if (!isfinite(v)) {
        buf_adds(b, "null");
        return;
    }
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
    buf_adds(b, text);
}

bool fd_write(int fd, const void *p, size_t n)
{
    for (const char *at = p; n;) {
        ssize_t k = write(fd, at, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return false;
        at += k;
        n -= (size_t)k;
    }
    return true;
}
