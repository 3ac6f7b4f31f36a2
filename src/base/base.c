#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* A message that did not fit ends with a whole letter: whoever sends it on may have to say UTF-8. */
static void end_whole(struct error *e)
{
    size_t n = strlen(e->msg);
    if (n + 1 == sizeof e->msg) e->msg[n - utf8_tail(e->msg, n)] = 0;
}

status fail(struct error *e, status code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        e->code = code;
        vsnprintf(e->msg, sizeof e->msg, fmt, ap);
        va_end(ap);
        end_whole(e);
    }
    return code;
}

status fail_in(struct error *e, const char *fmt, ...)
{
    char old[sizeof e->msg], prefix[sizeof e->msg];
    va_list ap;
    if (!e) return ERR_IO;
    memcpy(old, e->msg, sizeof old);
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    size_t n = strlen(prefix);
    memcpy(e->msg, prefix, n + 1);
    snprintf(e->msg + n, sizeof e->msg - n, ": %s", old);
    end_whole(e);
    return e->code;
}

const char *status_name(status code)
{
    static const char *const name[] = {
        [OK] = "ok",
        [ERR_ARG] = "invalid argument",
        [ERR_IO] = "input/output error",
        [ERR_FORMAT] = "format error",
        [ERR_LIMIT] = "limit exceeded",
        [ERR_MEMORY] = "out of memory",
        [ERR_UNSUPPORTED] = "not supported",
        [ERR_NOT_FOUND] = "not found",
        [ERR_BUSY] = "busy",
        [ERR_CANCELLED] = "cancelled",
        [ERR_DEVICE] = "device error",
    };
    return (size_t)code < COUNT_OF(name) ? name[code] : "unknown error";
}

void assert_failed(const char *file, int line, const char *expr)
{
    fprintf(stderr, "%s:%d: internal error: assertion failed: %s\n", file, line, expr);
    abort();
}

static void *or_die(void *p)
{
    if (!p) {
        fputs("corral: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_alloc(size_t bytes)
{
    return or_die(malloc(bytes ? bytes : 1));
}
void *mem_zalloc(size_t n, size_t bytes)
{
    return or_die(calloc(n ? n : 1, bytes ? bytes : 1));
}

void *mem_realloc(void *p, size_t n, size_t bytes)
{
    size_t total;
    return or_die(checked_mul(n, bytes, &total) ? realloc(p, total ? total : 1) : NULL);
}

void *mem_aligned(size_t align, size_t bytes)
{
    return or_die(aligned_alloc(align, round_up(bytes ? bytes : 1, align)));
}
void *mem_try(size_t n, size_t bytes)
{
    return calloc(n ? n : 1, bytes ? bytes : 1);
}
char *mem_strdup(const char *s)
{
    return or_die(strdup(s));
}
char *mem_strndup(const char *s, size_t n)
{
    return or_die(strndup(s, n));
}
