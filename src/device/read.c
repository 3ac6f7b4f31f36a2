#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/device_int.h"

static bool read_at(char *out, size_t size, const char *path)
{
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool ok = fgets(out, (int)size, f) != NULL;
    fclose(f);
    if (ok) out[strcspn(out, "\n")] = 0;
    return ok;
}

bool read_line(char *out, size_t size, const char *fmt, ...)
{
    char path[4096];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    return n > 0 && (size_t)n < sizeof path && read_at(out, size, path);
}

bool read_u64(uint64_t *out, const char *fmt, ...)
{
    char path[4096], text[64], *end;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(path, sizeof path, fmt, ap);
    va_end(ap);
    if (n <= 0 || (size_t)n >= sizeof path || !read_at(text, sizeof text, path)) return false;
    const bool hex = !strncmp(text, "0x", 2);
    uint64_t v = strtoull(text, &end, hex ? 16 : 10);
    if (end == text || text[0] == '-') return false; /* "max", "N/A", empty */
    *out = v;
    return true;
}
