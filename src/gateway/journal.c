#include "gateway/journal.h"

#include <stdlib.h>
#include <string.h>

static const char MARK[] = ": corral ";
enum {
    MARK_BYTES = sizeof MARK - 1,
    MAX_PENDING = 4 << 20, /* an answer that says nothing of its journal for so long has none */
    MAX_TOKENS = 1 << 20,
    MAX_CHOICES = 1024
};

void journal_init(struct journal *j, bool lines)
{
    *j = (struct journal){.lines = lines};
}

static void forget(struct journal *j)
{
    for (size_t i = 0; i < j->n_choice; i++) free(j->choice[i].token);
    free(j->choice);
    json_decref(j->head);
    j->choice = NULL;
    j->head = NULL;
    j->n_choice = j->n_token = 0;
}

void journal_deinit(struct journal *j)
{
    forget(j);
    buf_deinit(&j->pending);
}

static void lose(struct journal *j)
{
    j->lost = true;
    forget(j);
}

/* ---- a line of it ------------------------------------------------------------------------------------ */

static bool add_tokens(struct journal *j, json_int_t index, const json_t *ids)
{
    if (index < 0 || index >= MAX_CHOICES || !json_is_array(ids)) return false;
    size_t at = (size_t)index, n = json_array_size(ids);
    if (n > MAX_TOKENS - j->n_token) return false;
    if (at >= j->n_choice) {
        j->choice = mem_realloc(j->choice, at + 1, sizeof *j->choice);
        memset(j->choice + j->n_choice, 0, (at + 1 - j->n_choice) * sizeof *j->choice);
        j->n_choice = at + 1;
    }
    struct journal_choice *c = &j->choice[at];
    if (c->n + n > c->cap) {
        c->cap = MAX(c->n + n, 2 * c->cap);
        c->token = mem_realloc(c->token, c->cap, sizeof *c->token);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(ids, i);
        if (!json_is_integer(id) || json_integer_value(id) < 0 || json_integer_value(id) > INT32_MAX)
            return false;
        c->token[c->n++] = (int32_t)json_integer_value(id);
    }
    j->n_token += n;
    return true;
}

static bool add_line(struct journal *j, json_t *line)
{
    const json_t *t = json_object_get(line, "t");
    if (!json_is_object(line)) return false;
    for (size_t i = 0; i < json_array_size(t); i++) {
        const json_t *pair = json_array_get(t, i);
        if (!json_is_integer(json_array_get(pair, 0)) ||
            !add_tokens(j, json_integer_value(json_array_get(pair, 0)), json_array_get(pair, 1)))
            return false;
    }
    json_object_del(line, "t");
    if (json_object_size(line) == 0) return true;
    if (!j->head) j->head = json_object();
    return json_object_update(j->head, line) == 0;
}

static void note(struct journal *j, const char *p, size_t n)
{
    if (j->lost) return;
    json_t *line = json_loadb(p, n, 0, NULL);
    j->noted = true;
    if (!add_line(j, line)) lose(j);
    if (j->head && json_is_true(json_object_get(j->head, "end"))) j->ended = true;
    json_decref(line);
}

/* ---- frames ------------------------------------------------------------------------------------------ */

/* OpenAI's responses number their events; an error behind them takes the next number. */
static void note_sequence(struct journal *j, const char *p, size_t n)
{
    static const char name[] = "\"sequence_number\":";
    for (const char *at; (at = memmem(p, n, name, sizeof name - 1));) {
        n -= (size_t)(at - p) + sizeof name - 1;
        p = at + sizeof name - 1;
        if (n && *p >= '0' && *p <= '9') j->sequence = strtoull(p, NULL, 10); /* pending is NUL-terminated */
    }
}

/* The first n bytes of pending go out. */
static void give(struct journal *j, size_t n, struct buf *out)
{
    if (memmem(j->pending.data, n, "response.", 9)) note_sequence(j, j->pending.data, n);
    buf_add(out, j->pending.data, n);
    buf_drop(&j->pending, n);
    j->line -= n;
    j->scanned -= n;
    j->events = false;
}

/* A line is there, of n bytes with its end, from j->line on. */
static void take_line(struct journal *j, size_t n, struct buf *out)
{
    const char *p = j->pending.data + j->line;
    bool blank = n == 1 || (n == 2 && *p == '\r');
    if (n > MARK_BYTES && !memcmp(p, MARK, MARK_BYTES)) {
        if (j->line) give(j, j->line, out);
        note(j, j->pending.data + MARK_BYTES, n - MARK_BYTES);
        buf_drop(&j->pending, n);
        j->scanned -= n;
        j->blank = !j->lines;
        return;
    }
    if (blank && j->blank && j->line == 0) {
        buf_drop(&j->pending, n);
        j->scanned -= n;
        j->blank = false;
        return;
    }
    j->blank = false;
    j->line += n;
    if (*p != ':' && !blank) {
        j->events = true;
        j->kept = j->kept && j->noted; /* its first line comes before any frame */
    }
    if ((j->lines || blank) && (!j->kept || j->lost || !j->events)) give(j, j->line, out);
}

void journal_feed(struct journal *j, const char *p, size_t n, struct buf *out)
{
    buf_add(&j->pending, p, n);
    while (j->scanned < j->pending.n) {
        const char *end = memchr(j->pending.data + j->scanned, '\n', j->pending.n - j->scanned);
        j->scanned = end ? (size_t)(end - j->pending.data) + 1 : j->pending.n;
        if (end) take_line(j, j->scanned - j->line, out);
    }
    if (j->pending.n <= MAX_PENDING) return;
    lose(j);
    j->line = j->scanned;
    give(j, j->pending.n, out);
}

void journal_finish(struct journal *j, struct buf *out)
{
    j->line = j->scanned = j->pending.n;
    if (j->pending.n) give(j, j->pending.n, out);
}

void journal_cut(struct journal *j)
{
    buf_reset(&j->pending);
    j->line = j->scanned = 0;
    j->events = j->blank = false;
}

bool journal_resumes(const struct journal *j)
{
    return j->kept && j->noted && !j->lost && !j->ended;
}

void journal_write(const struct journal *j, struct buf *out)
{
    char *head = j->head ? json_dumps(j->head, JSON_COMPACT) : NULL;
    if (head && strlen(head) > 2)
        buf_addf(out, "%.*s,", (int)strlen(head) - 1, head);
    else
        buf_addc(out, '{');
    free(head);
    buf_adds(out, "\"t\":[");
    for (size_t i = 0; i < j->n_choice; i++) {
        buf_addf(out, "%s[%zu,[", i ? "," : "", i);
        for (size_t k = 0; k < j->choice[i].n; k++)
            buf_addf(out, "%s%d", k ? "," : "", j->choice[i].token[k]);
        buf_adds(out, "]]");
    }
    buf_adds(out, "]}");
}
