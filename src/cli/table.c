#include "cli/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_COLUMNS = 16 };

void table_add(struct table *t, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    t->cell = mem_realloc(t->cell, t->n + 1, sizeof *t->cell);
    t->cell[t->n++] = mem_strdup(*text ? text : "-");
}

/* Letters, not bytes. */
static int width_of(const char *s, size_t n)
{
    int w = 0;
    for (size_t i = 0; i < n; i++) w += ((unsigned char)s[i] & 0xC0) != 0x80;
    return w;
}

static void put(const char *s, size_t n, int width, bool right, bool last)
{
    int pad = MAX(width - width_of(s, n), 0);
    printf("%*s%.*s%*s", right ? pad : 0, "", (int)n, s, right || last ? 0 : pad, "");
    fputs(last ? "\n" : "  ", stdout);
}

void table_print(struct table *t)
{
    const char *name[MAX_COLUMNS];
    size_t len[MAX_COLUMNS], n = 0;
    int width[MAX_COLUMNS];
    bool right[MAX_COLUMNS];
    for (const char *p = t->heading; p && n < MAX_COLUMNS; n++) {
        right[n] = *p == '>';
        name[n] = p + right[n];
        len[n] = strcspn(name[n], "|");
        width[n] = (int)len[n];
        p = name[n][len[n]] ? name[n] + len[n] + 1 : NULL;
    }
    for (size_t i = 0; i < t->n; i++)
        width[i % n] = MAX(width[i % n], width_of(t->cell[i], strlen(t->cell[i])));
    for (size_t k = 0; t->n && k < n; k++) put(name[k], len[k], width[k], right[k], k + 1 == n);
    for (size_t i = 0; i < t->n; i++) {
        put(t->cell[i], strlen(t->cell[i]), width[i % n], right[i % n], i % n + 1 == n);
        free(t->cell[i]);
    }
    free(t->cell);
    t->cell = NULL;
    t->n = 0;
}
