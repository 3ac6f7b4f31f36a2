/* What every file uses: status and error, assertions, checked arithmetic, small allocation helpers.
 *
 * A function that can fail for a reason outside the program returns `status` and may fill a
 * `struct error` on its caller's stack; ASSERT is for our own mistakes only and stays on in release. */
#ifndef CORRAL_BASE_H
#define CORRAL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A status must be looked at. gcc can attach that only to each function, clang to the type: the fuzz build,
 * made with clang, reports a dropped one anywhere in the libraries. */
#ifdef __clang__
#define MUST_USE __attribute__((warn_unused_result))
#else
#define MUST_USE
#endif
typedef enum MUST_USE {
    OK = 0,
    ERR_ARG,         /* a value the user gave is out of range or malformed */
    ERR_IO,          /* the operating system said no */
    ERR_FORMAT,      /* a file or message is not what it claims to be */
    ERR_LIMIT,       /* larger than a ceiling of ours, or out of a counted resource */
    ERR_MEMORY,      /* an allocation whose size came from outside failed */
    ERR_UNSUPPORTED, /* well formed, but this build cannot do it */
    ERR_NOT_FOUND,
    ERR_BUSY,      /* a bounded queue is full: try again later */
    ERR_CANCELLED, /* ended at somebody's request */
    ERR_DEVICE     /* a device failed */
} status;

struct error {
    status code;
    char        msg[248];
};

#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* Fill e (which may be NULL) and return code: `return fail(e, ERR_FORMAT, "%s: bad magic", path);` */
status fail(struct error *e, status code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* Put "prefix: " before the message that e already holds; returns e->code. e NULL: ERR_IO. */
status fail_in(struct error *e, const char *fmt, ...) PRINTF_LIKE(2, 3);
const char *status_name(status code); /* "format error", ... */

#define TRY(expr)                                                                                            \
    do {                                                                                                     \
        status try_status_ = (expr);                                                                         \
        if (try_status_ != OK) return try_status_;                                                           \
    } while (0)

_Noreturn void assert_failed(const char *file, int line, const char *expr);
#define ASSERT(x) ((x) ? (void)0 : assert_failed(__FILE__, __LINE__, #x))
#ifdef NDEBUG
#define DEBUG_ASSERT(x) ((void)0)
#else
#define DEBUG_ASSERT(x) ASSERT(x)
#endif

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)   ((a) < (b) ? (a) : (b))
#define MAX(a, b)   ((a) > (b) ? (a) : (b))

/* Overflow-checked arithmetic for numbers that came from a file: false when the result does not fit. */
#define checked_add(a, b, out) (!__builtin_add_overflow((a), (b), (out)))
#define checked_mul(a, b, out) (!__builtin_mul_overflow((a), (b), (out)))

static inline size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Small host allocations abort when memory is out; sizes that a client influences go through mem_try. */
void *mem_alloc(size_t bytes);                        /* uninitialised; never NULL */
void *mem_zalloc(size_t n, size_t bytes);             /* zeroed; n * bytes is checked */
void *mem_realloc(void *p, size_t n, size_t bytes);   /* never NULL */
void *mem_aligned(size_t align, size_t bytes);        /* free() it */
void *mem_try(size_t n, size_t bytes);                /* zeroed; NULL on overflow or no memory */
char *mem_strdup(const char *s);
char *mem_strndup(const char *s, size_t n);

#endif
