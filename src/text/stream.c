#include "text/stream.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

enum { MAX_STOPS = 1024, MAX_STOP_BYTES = 64 << 10 };

struct text_stream {
    const struct tokenizer *t;
    bool special, at_end, paused;
    struct buf held; /* text that is not certain yet */
    char **stop;     /* copies */
    size_t *stop_n, n_stop;
    const char *met;
};

status text_stream_new(struct text_stream **out, const struct tokenizer *t, const char *const *stop,
                       size_t n_stop, bool special, struct error *e)
{
    size_t bytes = 0;
    *out = NULL;
    if (n_stop > MAX_STOPS)
        return fail(e, ERR_LIMIT, "%zu stop strings, at most %d are allowed", n_stop, MAX_STOPS);
    for (size_t i = 0; i < n_stop; i++) {
        size_t n = strlen(stop[i]);
        if (!n) return fail(e, ERR_ARG, "stop string %zu is empty", i);
        bytes += n;
    }
    if (bytes > MAX_STOP_BYTES)
        return fail(e, ERR_LIMIT, "stop strings have %zu bytes, at most %d are allowed", bytes,
                    MAX_STOP_BYTES);
    struct text_stream *s = mem_zalloc(1, sizeof *s);
    *s = (struct text_stream){.t = t, .special = special, .n_stop = n_stop};
    s->stop = mem_zalloc(n_stop + 1, sizeof *s->stop);
    s->stop_n = mem_zalloc(n_stop + 1, sizeof *s->stop_n);
    for (size_t i = 0; i < n_stop; i++) {
        s->stop[i] = mem_strdup(stop[i]);
        s->stop_n[i] = strlen(stop[i]);
    }
    *out = s;
    return OK;
}

void text_stream_free(struct text_stream *s)
{
    if (!s) return;
    for (size_t i = 0; i < s->n_stop; i++) free(s->stop[i]);
    free(s->stop);
    free(s->stop_n);
    buf_deinit(&s->held);
    free(s);
}

/* The stop string that ends first in the held text, the longest of those that end there; SIZE_MAX: none.
 * What counts is the end, so that the result does not depend on how the text was cut into tokens. */
static size_t find_stop(const struct text_stream *s, size_t *begin)
{
    size_t best = SIZE_MAX, best_end = SIZE_MAX;
    for (size_t i = 0; i < s->n_stop; i++) {
        const char *p = memmem(s->held.data, s->held.n, s->stop[i], s->stop_n[i]);
        if (!p) continue;
        size_t at = (size_t)(p - s->held.data), end = at + s->stop_n[i];
        if (end > best_end || (end == best_end && at >= *begin)) continue;
        best = i;
        best_end = end;
        *begin = at;
    }
    return best;
}

/* The length of the longest end of the held text with which a stop string begins. */
static size_t begun_stop(const struct text_stream *s)
{
    size_t best = 0;
    for (size_t i = 0; i < s->n_stop; i++)
        for (size_t n = MIN(s->stop_n[i] - 1, s->held.n); n > best; n--)
            if (memcmp(s->held.data + s->held.n - n, s->stop[i], n) == 0) {
                best = n;
                break;
            }
    return best;
}

/* Move the first n held bytes to out as valid UTF-8: each maximal part of a broken sequence is one U+FFFD. */
static void release(struct text_stream *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n;) {
        size_t len = utf8_valid_len(s->held.data + i, n - i), bad = 0;
        if (len) {
            size_t run = len;
            while (i + run < n && (len = utf8_valid_len(s->held.data + i + run, n - i - run))) run += len;
            buf_add(out, s->held.data + i, run);
            i += run;
            continue;
        }
        for (size_t k = MIN((size_t)3, n - i); k && !bad; k--)
            if (utf8_tail(s->held.data + i, k) == k) bad = k;
        buf_adds(out, "\xEF\xBF\xBD");
        i += MAX(bad, (size_t)1);
    }
    buf_drop(&s->held, n);
}

bool text_stream_push(struct text_stream *s, int32_t id, struct buf *out)
{
    size_t n, begin = 0;
    if (s->at_end || id < 0 || (uint32_t)id >= tokenizer_n_vocab(s->t)) return s->at_end;
    enum tok_attr attr = tokenizer_attr(s->t, id);
    bool as_written = s->special && (attr == TOK_CONTROL || attr == TOK_UNKNOWN);
    const char *p = as_written ? tokenizer_text(s->t, id, &n) : tokenizer_piece(s->t, id, &n);
    buf_add(&s->held, p, n);
    if (!s->held.n) return false;
    size_t stop = s->paused ? SIZE_MAX : find_stop(s, &begin);
    if (stop != SIZE_MAX) {
        s->met = s->stop[stop];
        s->at_end = true;
        release(s, begin, out);
        buf_reset(&s->held);
        return true;
    }
    /* An unfinished character may lie before or inside an unfinished stop string: hold the longer. */
    size_t keep = MAX(s->paused ? 0 : begun_stop(s), utf8_tail(s->held.data, s->held.n));
    size_t ready = s->held.n - keep;
    release(s, ready - utf8_tail(s->held.data, ready), out);
    return false;
}

void text_stream_pause_stops(struct text_stream *s, bool pause)
{
    s->paused = pause;
}

void text_stream_finish(struct text_stream *s, struct buf *out)
{
    if (!s->at_end && s->held.n) release(s, s->held.n, out);
    s->at_end = true;
}

const char *text_stream_stop(const struct text_stream *s)
{
    return s->met;
}
