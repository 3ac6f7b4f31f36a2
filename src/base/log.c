#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"

static atomic_int max_level = LOG_WARN;
static atomic_bool as_json;

enum log_level log_set_level(enum log_level max)
{
    return (enum log_level)atomic_exchange(&max_level, (int)max);
}
void log_set_json(bool json)
{
    atomic_store(&as_json, json);
}
bool log_on(enum log_level level)
{
    return (int)level <= atomic_load(&max_level);
}

/* text, or JSON members in its place. */
static void write_line(enum log_level level, const char *module, const char *event, const char *text,
                       const char *members)
{
    static const char *const name[] = {"error", "warn", "info", "debug"};
    char when[40];
    struct timespec ts;
    struct tm tm;

    clock_gettime(CLOCK_REALTIME, &ts);
    gmtime_r(&ts.tv_sec, &tm);
    size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(when + n, sizeof when - n, ".%03ldZ", ts.tv_nsec / 1000000);

    struct buf line = {0};
    if (atomic_load(&as_json)) {
        buf_addf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"module\":\"%s\",\"event\":\"%s\"", when,
                 name[level], module, event);
        if (text) {
            buf_adds(&line, ",\"text\":");
            buf_json_str(&line, text, strlen(text));
        } else {
            buf_adds(&line, members);
        }
        buf_adds(&line, "}\n");
    } else {
        buf_addf(&line, "%s %-5s %s: %s %s\n", when, name[level], module, event, text ? text : members);
    }
    if (line.data) fwrite(line.data, 1, line.n, stderr); /* one write: lines of threads do not mix */
    buf_deinit(&line);
}

void log_write(enum log_level level, const char *module, const char *event, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    write_line(level, module, event, text, NULL);
}

void log_fields(enum log_level level, const char *module, const char *event, const char *members)
{
    write_line(level, module, event, NULL, members);
}
