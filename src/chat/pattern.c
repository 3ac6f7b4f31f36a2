/* Matching the strings of struct chat_wire against what a model wrote. */
#include <string.h>

#include "chat/wire.h"

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct field {
    const char *name;  /* as written in patterns */
    size_t at, size;   /* in struct captures */
    const char *chars; /* NULL: those of a name; else all but these */
};

static const struct field fields[] = {
    {"{name}", offsetof(struct captures, name), sizeof((struct captures *)0)->name, NULL},
    {"{id}", offsetof(struct captures, id), sizeof((struct captures *)0)->id, "<>[]{}\" \n"},
    {"{index}", offsetof(struct captures, index), sizeof((struct captures *)0)->index, NULL},
    {"{key}", offsetof(struct captures, key), sizeof((struct captures *)0)->key, "<>\"/\n"},
    {"{type}", offsetof(struct captures, type), sizeof((struct captures *)0)->type, "<>\"\n"},
    {"{string}", offsetof(struct captures, string), sizeof((struct captures *)0)->string, "<>\"\n"},
};

/* The field that the pattern has here, NULL: a character that stands for itself. */
static const struct field *field_at(const char *pattern)
{
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (!strncmp(pattern, fields[i].name, strlen(fields[i].name))) return &fields[i];
    return NULL;
}

static bool may_hold(const struct field *f, char c)
{
    if (!c) return false;
    if (f->chars) return !strchr(f->chars, c);
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || strchr("_-./", c) ||
           (uint8_t)c >= 0x80;
}

/* The longest run of what the field may hold, up to the character that the pattern has next. */
static enum match capture(const struct field *f, char stop, const char *s, size_t n, struct captures *c,
                          size_t *used)
{
    size_t i = 0;
    while (i < n && s[i] != stop && may_hold(f, s[i])) i++;
    if (i >= f->size) return MATCH_NO;
    if (i == n) return MATCH_MORE;
    if (i == 0) return MATCH_NO;
    if (c) {
        memcpy((char *)c + f->at, s, i);
        ((char *)c)[f->at + i] = 0;
    }
    *used += i;
    return MATCH;
}

enum match pattern_match(const char *pattern, const char *s, size_t n, struct captures *c, size_t *used)
{
    size_t i = 0;
    for (const char *p = pattern; *p;) {
        const struct field *f = field_at(p);
        if (is_space(*p) || (!f && strchr("{}[],:\"", *p)))
            while (i < n && is_space(s[i])) i++;
        if (is_space(*p)) {
            p++;
            continue;
        }
        if (i == n) return MATCH_MORE;
        if (f) {
            p += strlen(f->name);
            enum match m = capture(f, *p, s + i, n - i, c, &i);
            if (m != MATCH) return m;
        } else if (s[i++] != *p++) {
            return MATCH_NO;
        }
    }
    *used = i;
    return MATCH;
}

void pattern_fill(struct buf *out, const char *pattern, const struct captures *c)
{
    while (*pattern) {
        const struct field *f = field_at(pattern);
        if (f)
            buf_adds(out, (const char *)c + f->at);
        else
            buf_addc(out, *pattern);
        pattern += f ? strlen(f->name) : 1;
    }
}
