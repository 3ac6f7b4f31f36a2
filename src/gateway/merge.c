#include "gateway/merge.h"

#include <stdlib.h>
#include <string.h>

struct family {
    char *name;
    struct buf head, samples; /* lines of HELP and TYPE; of values */
};
struct merge {
    struct family *item;
    size_t n;
};

struct merge *merge_new(void)
{
    return mem_zalloc(1, sizeof(struct merge));
}

void merge_free(struct merge *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->n; i++) {
        free(m->item[i].name);
        buf_deinit(&m->item[i].head);
        buf_deinit(&m->item[i].samples);
    }
    free(m->item);
    free(m);
}

static struct family *family_of(struct merge *m, const char *name, size_t n, bool *fresh)
{
    *fresh = false;
    for (size_t i = 0; i < m->n; i++)
        if (strlen(m->item[i].name) == n && !memcmp(m->item[i].name, name, n)) return &m->item[i];
    if ((m->n & (m->n + 1)) == 0) m->item = mem_realloc(m->item, 2 * m->n + 2, sizeof *m->item);
    m->item[m->n] = (struct family){.name = mem_strndup(name, n)};
    *fresh = true;
    return &m->item[m->n++];
}

/* One label at *p, name="value"; *p goes behind it and its comma. False: there is none. */
struct label {
    const char *name;
    size_t n_name, n; /* n: all of it */
};
static bool next_label(const char **p, const char *end, struct label *out)
{
    const char *eq = *p < end ? memchr(*p, '=', (size_t)(end - *p)) : NULL;
    if (!eq || eq + 1 >= end || eq[1] != '"') return false;
    const char *at = eq + 2;
    while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
    if (at >= end) return false;
    *out = (struct label){*p, (size_t)(eq - *p), (size_t)(at + 1 - *p)};
    *p = at + 1;
    if (*p < end && **p == ',') ++*p;
    return true;
}

static bool has_label(const char *own, size_t n, const struct label *wanted)
{
    struct label l;
    for (const char *p = own; next_label(&p, own + n, &l);)
        if (l.n_name == wanted->n_name && !memcmp(l.name, wanted->name, l.n_name)) return true;
    return false;
}

static bool all_labels(const char *own, size_t n)
{
    const char *p = own;
    struct label l;
    while (next_label(&p, own + n, &l)) continue;
    return p == own + n;
}

/* Those of `labels` whose names are not among the sample's own, with commas between. */
static void add_missing(struct buf *out, const char *labels, const char *own, size_t n_own)
{
    const char *end = labels + strlen(labels);
    bool comma = n_own > 0 && own[n_own - 1] != ',';
    struct label l;
    for (const char *p = labels; next_label(&p, end, &l);) {
        if (has_label(own, n_own, &l)) continue;
        buf_adds(out, comma ? "," : "");
        buf_add(out, l.name, l.n);
        comma = true;
    }
}

static void add_sample(struct family *f, const char *line, size_t n, const char *labels)
{
    const char *brace = memchr(line, '{', n), *blank = memchr(line, ' ', n), *close = NULL;
    if (!blank) return;
    if (brace && brace < blank) {
        close = brace + 1;
        for (bool quoted = false; close < line + n && (quoted || *close != '}'); close++) {
            if (*close == '\\' && quoted)
                close++;
            else if (*close == '"')
                quoted = !quoted;
        }
        if (close >= line + n || !all_labels(brace + 1, (size_t)(close - brace - 1))) return;
        buf_add(&f->samples, line, (size_t)(close - line));
        add_missing(&f->samples, labels, brace + 1, (size_t)(close - brace - 1));
    } else {
        close = blank;
        buf_add(&f->samples, line, (size_t)(blank - line));
        if (*labels) {
            buf_addc(&f->samples, '{');
            add_missing(&f->samples, labels, "", 0);
            buf_addc(&f->samples, '}');
        }
    }
    buf_add(&f->samples, close, (size_t)(line + n - close));
    buf_addc(&f->samples, '\n');
}

void merge_add(struct merge *m, const char *text, size_t n, const char *labels)
{
    struct family *f = NULL;
    bool fresh = false;
    for (const char *p = text, *end = text + n; p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((eol ? eol : end) - p);
        if (len > 7 && (!memcmp(p, "# HELP ", 7) || !memcmp(p, "# TYPE ", 7))) {
            const char *name = p + 7, *after = memchr(name, ' ', len - 7);
            bool made = false;
            if (after) {
                f = family_of(m, name, (size_t)(after - name), &made);
                fresh = made || (fresh && !f->samples.n);
            }
            if (after && fresh) {
                buf_add(&f->head, p, len);
                buf_addc(&f->head, '\n');
            }
        } else if (len && *p != '#' && f) {
            add_sample(f, p, len, labels);
        }
        p += len + 1;
    }
}

void merge_write(const struct merge *m, struct buf *out)
{
    for (size_t i = 0; i < m->n; i++) {
        buf_add(out, m->item[i].head.data, m->item[i].head.n);
        if (m->item[i].samples.n) buf_add(out, m->item[i].samples.data, m->item[i].samples.n);
    }
}
