/* Reading text: a state is a configuration, shared by its clones until one of them reads on. */
#include <stdlib.h>
#include <string.h>

#include "grammar/grammar_int.h"

static struct shared_config *shared_new(void)
{
    struct shared_config *s = mem_zalloc(1, sizeof *s);
    s->refs = 1;
    return s;
}

static void shared_unref(struct shared_config *s)
{
    if (--s->refs) return;
    config_deinit(&s->c);
    free(s);
}

struct grammar_state *grammar_state_new(struct grammar *g)
{
    struct grammar_state *s = mem_zalloc(1, sizeof *s);
    s->g = grammar_ref(g);
    s->at = shared_new();
    config_begin(g, &s->at->c);
    return s;
}

struct grammar_state *grammar_state_clone(const struct grammar_state *s)
{
    struct grammar_state *c = mem_zalloc(1, sizeof *c);
    c->g = grammar_ref(s->g);
    c->at = s->at;
    c->at->refs++;
    return c;
}

void grammar_state_free(struct grammar_state *s)
{
    if (!s) return;
    shared_unref(s->at);
    grammar_unref(s->g);
    free(s);
}

bool grammar_state_accept(struct grammar_state *s, const char *p, size_t n)
{
    struct shared_config *at = s->at;
    bool ok = true;
    at->refs++;
    for (size_t i = 0; ok && i < n; i++) {
        struct shared_config *next = shared_new();
        config_step(s->g, &next->c, &at->c, (uint8_t)p[i]);
        ok = !next->c.overflow && (next->c.n || next->c.done);
        shared_unref(at);
        at = next;
    }
    if (ok) {
        shared_unref(s->at);
        s->at = at;
    } else {
        shared_unref(at);
    }
    return ok;
}

bool grammar_state_can_end(const struct grammar_state *s)
{
    return s->at->c.done;
}

/* The bytes that c accepts; edges are tried, since some wait for what the frame does not allow. */
static int only_byte(const struct grammar *g, const struct config *c)
{
    uint64_t set[4];
    int only = -1;
    config_bytes(c, set);
    for (int b = 0; b < 256; b++) {
        if (!(set[b >> 6] >> (b & 63) & 1)) continue;
        struct config next = {0};
        config_step(g, &next, c, (uint8_t)b);
        bool lives = !next.overflow && (next.n || next.done); /* as grammar_state_accept takes it */
        config_deinit(&next);
        if (lives && only >= 0) return -1;
        if (lives) only = b;
    }
    return only;
}

void grammar_state_forced(const struct grammar_state *s, struct buf *out, size_t max)
{
    struct shared_config *at = s->at;
    at->refs++;
    for (size_t i = 0; i < max && !at->c.done; i++) {
        int byte = only_byte(s->g, &at->c);
        if (byte < 0) break;
        struct shared_config *next = shared_new();
        config_step(s->g, &next->c, &at->c, (uint8_t)byte);
        shared_unref(at);
        at = next;
        buf_addc(out, (char)byte);
    }
    shared_unref(at);
}
