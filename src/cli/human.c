#include "cli/human.h"

#include <stdio.h>
#include <time.h>

#include "base/utf8.h"

/* Three significant digits. */
static struct human scaled(uint64_t n, double step, const char *const *unit, size_t n_unit)
{
    struct human h;
    double v = (double)n;
    size_t u = 0;
    while (u + 1 < n_unit && v >= step) {
        v /= step;
        u++;
    }
    if (u == 0)
        snprintf(h.s, sizeof h.s, "%llu%s", (unsigned long long)n, unit[0]);
    else
        snprintf(h.s, sizeof h.s, "%.*f %s", v < 9.995 ? 2 : v < 99.95 ? 1 : 0, v, unit[u]);
    return h;
}

struct human human_bytes(uint64_t n)
{
    static const char *const unit[] = {" bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
    return scaled(n, 1024, unit, COUNT_OF(unit));
}

struct human human_count(uint64_t n)
{
    static const char *const unit[] = {"", "thousand", "million", "billion", "trillion"};
    return scaled(n, 1000, unit, COUNT_OF(unit));
}

struct human human_seconds(double s)
{
    struct human h;
    if (s < 60)
        snprintf(h.s, sizeof h.s, s < 9.95 ? "%.1f s" : "%.0f s", s);
    else if (s < 600)
        snprintf(h.s, sizeof h.s, "%d min %d s", (int)s / 60, (int)s % 60);
    else if (s < 7200)
        snprintf(h.s, sizeof h.s, "%.0f minutes", s / 60);
    else if (s < 2 * 86400)
        snprintf(h.s, sizeof h.s, "%.0f hours", s / 3600);
    else
        snprintf(h.s, sizeof h.s, "%.0f days", s / 86400);
    return h;
}

struct human human_ago(int64_t ms)
{
    struct timespec now;
    struct human h = {"never"};
    if (!ms) return h;
    clock_gettime(CLOCK_REALTIME, &now);
    double s = (double)now.tv_sec + (double)now.tv_nsec * 1e-9 - (double)ms * 1e-3;
    struct human d = human_seconds(s);
    if (s < 5)
        snprintf(h.s, sizeof h.s, "just now");
    else
        snprintf(h.s, sizeof h.s, "%.26s ago", d.s);
    return h;
}

void human_string(struct buf *b, const char *s, size_t n, size_t max)
{
    size_t k = MIN(n, max);
    if (k < n) k -= utf8_tail(s, k);
    buf_json_str(b, s, k);
    if (k < n) buf_adds(b, "...");
}
