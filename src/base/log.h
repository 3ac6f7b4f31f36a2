/* Structured log lines: level, module, event, key=value. Libraries log through the process's sink, which
 * is set once at start (default: warnings and errors to stderr); they never print. */
#ifndef CORRAL_LOG_H
#define CORRAL_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum log_level log_set_level(enum log_level max); /* returns the one before */
void log_set_json(bool json); /* JSON lines instead of text */
bool log_on(enum log_level level);
void log_write(enum log_level level, const char *module, const char *event, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* For lines whose details are numbers to a reader of JSON lines: members is `,"a":1,"b":"x"`. */
void log_fields(enum log_level level, const char *module, const char *event, const char *members);

/* LOG(INFO, "kv", "evict", "seq=%u blocks=%u", seq, n); */
#define LOG(level, module, event, ...)                                                                       \
    do {                                                                                                     \
        if (log_on(LOG_##level)) log_write(LOG_##level, module, event, __VA_ARGS__);                         \
    } while (0)

#endif
