#include "gateway/duration.h"

#include <stdlib.h>
#include <string.h>

/* Go's time.ParseDuration, as far as it goes here; a number alone is seconds. */
static bool read_parts(const char *p, double *seconds)
{
    static const struct {
        const char *unit;
        double seconds;
    } units[] = {{"ms", 1e-3}, {"us", 1e-6}, {"ns", 1e-9}, {"h", 3600}, {"m", 60}, {"s", 1}};
    double sum = 0;
    char *end;
    if (!strchr("0123456789.", *p) || !*p) return false;
    while (*p) {
        if (!strchr("0123456789.", *p)) return false;
        double v = strtod(p, &end);
        size_t i = 0;
        if (end == p) return false;
        while (i < COUNT_OF(units) && strncmp(end, units[i].unit, strlen(units[i].unit)) != 0) i++;
        if (i == COUNT_OF(units)) {
            if (*end) return false;
            sum += v;
            break;
        }
        sum += v * units[i].seconds;
        p = end + strlen(units[i].unit);
    }
    *seconds = sum;
    return true;
}

bool duration_read(struct http_str raw, int32_t *seconds)
{
    char text[32];
    double s = 0;
    bool quoted = raw.n >= 2 && *raw.p == '"';
    size_t n = quoted ? raw.n - 2 : raw.n;
    if (n == 0 || n >= sizeof text) return false;
    memcpy(text, raw.p + quoted, n);
    text[n] = 0;
    const char *p = text + (*text == '-');
    if (!read_parts(p, &s)) return false;
    *seconds = *text == '-' && s > 0 ? -1 : s > 1e9 ? 1000000000 : s > 0 && s < 1 ? 1 : (int32_t)s;
    return true;
}
