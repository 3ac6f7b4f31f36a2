/* Chat templates: Jinja2 in C, as Hugging Face's transformers configures it.
 *
 * trim_blocks, lstrip_blocks, break and continue, {% generation %}, tojson without HTML escapes,
 * raise_exception, strftime_now, and the immutable sandbox: what Python's Jinja2 3.1 prints, this prints,
 * byte for byte. docs/chat-templates.md says what is supported and where the two may differ.
 *
 * A template is parsed once and never changes after that: any number of threads may render it at once. Both
 * template and context may be hostile: a render is bounded in steps, time, memory, output and depth. */
#ifndef CORRAL_JINJA_H
#define CORRAL_JINJA_H

#include <jansson.h>
#include <time.h>

#include "base/buf.h"

struct jinja; /* a parsed template */

enum jinja_cause {
    JINJA_SYNTAX,  /* the template does not parse */
    JINJA_RUNTIME, /* it does something that Python would raise an exception for */
    JINJA_RAISED,  /* it called raise_exception: the template refuses this conversation */
    JINJA_LIMIT    /* it went over one of the limits */
};

/* Where and why; the message is in struct error ("line 3, column 7: 'tools' is undefined"; the message of
 * raise_exception stands alone). */
struct jinja_fault {
    enum jinja_cause cause;
    uint32_t line, column; /* from 1; 0: unknown */
};

struct jinja_limits {    /* 0: the default */
    size_t output_bytes; /* 64 MiB; captured text counts until it is a value */
    size_t memory_bytes; /* 256 MiB of values */
    uint64_t steps;      /* 50 million */
    uint32_t cpu_ms;     /* 3000 of this thread's time: however busy the machine is, the same work fits */
    uint32_t depth;      /* 1000 nested evaluations */
};

struct jinja_options {
    struct jinja_limits limits;
    const struct tm *now; /* for strftime_now; NULL: local time */
    /* Allow what Hugging Face's sandbox refuses but other programs' templates use: methods that change lists
     * and dicts (append, pop, update, ...) and the from_json filter. */
    bool lenient;
};

/* src is copied. fault may be NULL. ERR_FORMAT: syntax; ERR_LIMIT: larger or deeper than we take. */
status jinja_parse(struct jinja **out, const char *src, size_t n, struct jinja_fault *fault, struct error *e);
void jinja_free(struct jinja *t); /* NULL is fine */

/* Append to out what the template makes of context, a JSON object of variables that must not change
 * meanwhile. options and fault may be NULL. After a failure out holds what it held before. ERR_ARG: the
 * template failed (see fault->cause); ERR_LIMIT: a limit. */
status jinja_render(const struct jinja *t, const json_t *context, const struct jinja_options *options,
                    struct buf *out, struct jinja_fault *fault, struct error *e);

#endif
