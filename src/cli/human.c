#include "cli/human.h"

#include <stdio.h>

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

void human_string(struct buf *b, const char *s, size_t n, size_t max)
{
    size_t k = MIN(n, max);
    if (k < n) k -= utf8_tail(s, k);
    buf_json_str(b, s, k);
    if (k < n) buf_adds(b, "...");
}
