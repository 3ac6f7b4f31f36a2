/* Answers to events: content, reasoning, and where a call may begin.
 *
 * Blanks between sections belong to none of them: those at the beginning of an answer before a mark, round
 * reasoning, and round calls are dropped; those round content that stands alone stay. */
#include "chat/parse_int.h"

#include <stdlib.h>

#include "base/rng.h"

/* Pieces of text are joined until something else comes, or nothing. */
static void say(struct chat_parser *p)
{
    struct chat_event ev = {.kind = p->said_kind, .text = p->said.data, .n = p->said.n};
    if (p->said.n) p->fn(p->user, &ev);
    buf_reset(&p->said);
}

void parse_emit(struct chat_parser *p, const struct chat_event *ev)
{
    bool text = ev->kind == CHAT_CONTENT || ev->kind == CHAT_REASONING;
    if (!text || ev->kind != p->said_kind) say(p);
    if (!text) {
        p->fn(p->user, ev);
        return;
    }
    p->said_kind = ev->kind;
    buf_add(&p->said, ev->text, ev->n);
}

static void emit_text(struct chat_parser *p, enum chat_event_kind kind, const char *text, size_t n)
{
    parse_emit(p, &(struct chat_event){.kind = kind, .text = text, .n = n});
}

void parse_text(struct chat_parser *p, enum chat_event_kind kind, const char *text, size_t n)
{
    size_t end = n, begin = 0;
    while (end && parse_is_space(text[end - 1])) end--;
    if (p->trim && end)
        while (parse_is_space(text[begin])) begin++;
    if (end) {
        if (p->trim) buf_reset(&p->space);
        p->trim = false;
        if (p->space.n) emit_text(p, kind, p->space.data, p->space.n);
        buf_reset(&p->space);
        emit_text(p, kind, text + begin, end - begin);
        if (kind == CHAT_CONTENT) p->fresh = false;
    }
    buf_add(&p->space, text + end, n - end);
}

size_t parse_partial(const char *s, size_t n, const char *mark)
{
    size_t longest = strlen(mark);
    longest = longest ? longest - 1 : 0;
    for (size_t k = MIN(n, longest); k; k--)
        if (!memcmp(s + n - k, mark, k)) return k;
    return 0;
}

/* --- content --- */

static bool mark_applies(const struct chat_parser *p, const struct parse_mark *m)
{
    bool anywhere = m->what == MARK_CALL || (m->what == MARK_DROP && !strchr(m->text, '{'));
    return anywhere || p->fresh;
}

/* How much of s the mark takes; a mark with a field in it is a pattern. */
static enum match match_mark(const char *mark, const char *s, size_t n, size_t *used)
{
    *used = strlen(mark);
    if (mark[0] != s[0]) return MATCH_NO;
    if (strchr(mark, '{')) return pattern_match(mark, s, n, NULL, used);
    if (memcmp(mark, s, MIN(n, *used)) != 0) return MATCH_NO;
    return n < *used ? MATCH_MORE : MATCH;
}

/* The longest mark that stands at s and its bytes; *more: a longer one may, once more text comes. */
static const struct parse_mark *mark_at(const struct chat_parser *p, const char *s, size_t n, bool *more,
                                        size_t *n_best)
{
    const struct parse_mark *best = NULL;
    size_t used;
    *n_best = 0;
    *more = false;
    for (uint32_t i = 0; i < p->n_mark; i++) {
        const struct parse_mark *m = &p->mark[i];
        enum match found = mark_applies(p, m) ? match_mark(m->text, s, n, &used) : MATCH_NO;
        if (found == MATCH_MORE) *more = true;
        if (found != MATCH || used <= *n_best) continue;
        best = m;
        *n_best = used;
    }
    if (p->final) *more = false;
    return best;
}

static void begin_marked(struct chat_parser *p, const struct parse_mark *m, size_t n)
{
    bool alt = m->wire->alt && !strcmp(m->text, m->wire->alt);
    p->next_mark = (uint32_t)(m - p->mark) + 1;
    parse_begin_calls(p, m->wire, n, alt ? strstr(m->wire->w.head, m->text) : NULL);
}

bool parse_other_wire(struct chat_parser *p)
{
    size_t used;
    for (uint32_t i = p->next_mark; i < p->n_mark; i++) {
        const struct parse_mark *m = &p->mark[i];
        if (m->what != MARK_CALL ||
            match_mark(m->text, p->in.data + p->raw, p->in.n - p->raw, &used) != MATCH)
            continue;
        p->at = p->raw;
        begin_marked(p, m, used);
        return true;
    }
    return false;
}

static void take_mark(struct chat_parser *p, const struct parse_mark *m, size_t n)
{
    if (m->what == MARK_CALL) {
        begin_marked(p, m, n);
        return;
    }
    buf_reset(&p->space);
    p->trim = true;
    p->at += n;
    if (m->what == MARK_THINK) p->state = PARSE_THINK;
}

/* A call without a trigger, at the beginning of the answer or behind another call, where a semicolon may part
 * them.
 */
static enum match bare_call(struct chat_parser *p)
{
    size_t n, i = 0;
    const char *s = parse_rest(p, &n);
    if (!p->bare || !p->fresh) return MATCH_NO;
    while (i < n && (parse_is_space(s[i]) || (s[i] == ';' && p->n_calls))) i++;
    if (i == n && !p->final) return MATCH_MORE;
    if (i == n || s[i] != p->bare->bare) return MATCH_NO;
    if (i && !p->n_calls) parse_text(p, CHAT_CONTENT, s, i);
    p->at += i;
    p->next_mark = p->n_mark;
    parse_begin_calls(p, p->bare, 1, NULL);
    return MATCH;
}

static bool step_text(struct chat_parser *p)
{
    size_t n, i = 0, n_mark = 0;
    bool more = false;
    const struct parse_mark *m = NULL;
    enum match bare = bare_call(p);
    if (bare != MATCH_NO) return bare == MATCH;
    const char *s = parse_rest(p, &n);
    for (; i < n; i++) {
        m = mark_at(p, s + i, n - i, &more, &n_mark);
        if (m || more) break;
        /* What follows content is not at the beginning any more, and not all marks count there. */
        if (p->fresh && !parse_is_space(s[i])) {
            i++;
            break;
        }
    }
    if (i) {
        parse_text(p, CHAT_CONTENT, s, i);
        p->at += i;
    }
    if (m && !more) take_mark(p, m, n_mark);
    return i || (m && !more);
}

/* --- reasoning --- */

/* A control token that begins calls ends reasoning too: some models forget to close it. */
static const char *think_end_at(const struct chat_parser *p, const char *s, size_t n, bool *more, bool *call)
{
    *more = *call = false;
    for (uint32_t i = 0; i < p->n_mark; i++) {
        const struct parse_mark *m = &p->mark[i];
        bool control =
            m->what == MARK_CALL && m->text[0] == '<' && (m->text[1] == '|' || (uint8_t)m->text[1] >= 0x80);
        size_t len = strlen(m->text);
        if ((m->what != MARK_THINK_END && !control) || memcmp(m->text, s, MIN(n, len)) != 0) continue;
        *call = control;
        if (n >= len) return m->text;
        *more = true;
    }
    return NULL;
}

static bool step_think(struct chat_parser *p)
{
    size_t n, i = 0;
    bool more = false, call = false;
    const char *s = parse_rest(p, &n), *end = NULL;
    for (; i < n; i++)
        if ((end = think_end_at(p, s + i, n - i, &more, &call)) || (more && !p->final)) break;
    if (i) {
        parse_text(p, CHAT_REASONING, s, i);
        p->at += i;
    }
    if (end) {
        buf_reset(&p->space);
        p->trim = true;
        p->state = PARSE_TEXT;
        if (!call) p->at += strlen(end);
    }
    return i || end;
}

/* --- the parser --- */

static bool step(struct chat_parser *p)
{
    switch (p->state) {
    case PARSE_TEXT: return step_text(p);
    case PARSE_THINK: return step_think(p);
    case PARSE_SECTION: return parse_section(p);
    case PARSE_HEAD: return parse_head(p);
    case PARSE_ARGS: return parse_args(p);
    case PARSE_OBJECT: return parse_object(p);
    case PARSE_PARAMS: return parse_params(p);
    case PARSE_VALUE: return parse_value(p);
    case PARSE_TAIL: return parse_tail(p);
    case PARSE_CHANNEL: return parse_channel(p);
    default: return parse_message(p);
    }
}

static void run(struct chat_parser *p)
{
    while (p->at < p->in.n && step(p)) {}
    parse_flush_args(p);
    say(p);
    size_t done = MIN(p->at, p->raw);
    if (!done) return;
    buf_drop(&p->in, done);
    p->at -= done;
    if (p->raw != SIZE_MAX) p->raw -= done;
    p->scan = p->scan > done ? p->scan - done : 0;
}

static void add_mark(struct chat_parser *p, const char *text, int what, const struct wire_row *wire)
{
    if (!text || !*text || p->n_mark == MAX_MARKS) return;
    p->mark[p->n_mark++] = (struct parse_mark){text, what, wire};
}

static void add_wire(struct chat_parser *p, const struct wire_row *w)
{
    add_mark(p, w->w.trigger, MARK_CALL, w);
    add_mark(p, w->alt, MARK_CALL, w);
    if (w->bare) p->bare = w;
}

status chat_parser_new(struct chat_parser **out, const struct chat_format *f,
                       const struct chat_parse_options *o, struct error *e)
{
    struct chat_parser *p = mem_zalloc(1, sizeof *p);
    const struct wire_row *w = wire_row(f->caps.wire);
    p->f = f;
    p->o = *o;
    p->raw = SIZE_MAX;
    p->fresh = true;
    if (!p->o.id_seed) p->o.id_seed = rng_seed_from_os();
    if (o->reasoning) {
        add_mark(p, f->caps.think_begin, MARK_THINK, NULL);
        add_mark(p, f->caps.think_end, MARK_THINK_END, NULL);
        if (o->think_open) p->state = PARSE_THINK;
        p->trim = o->think_open;
    }
    if (o->tools) {
        add_wire(p, w);
        if (w->also) add_wire(p, wire_row(chat_wire_find(w->also)));
    }
    for (size_t i = 0; i < COUNT_OF(w->drop); i++) add_mark(p, w->drop[i], MARK_DROP, NULL);
    if (w->lead) buf_adds(&p->in, w->lead);
    if (w->kind == WIRE_HARMONY) {
        p->state = o->think_open ? PARSE_MESSAGE : PARSE_CHANNEL;
        p->channel.reasoning = o->reasoning && o->think_open;
    }
    *out = p;
    return OK;
}

void chat_parser_free(struct chat_parser *p)
{
    if (!p) return;
    buf_deinit(&p->in);
    buf_deinit(&p->space);
    buf_deinit(&p->said);
    buf_deinit(&p->out);
    buf_deinit(&p->id);
    buf_deinit(&p->obj.text);
    literal_deinit(&p->lit);
    free(p);
}

void chat_parser_push(struct chat_parser *p, const char *text, size_t n, chat_on_event *fn, void *user)
{
    p->fn = fn;
    p->user = user;
    buf_add(&p->in, text, n);
    run(p);
}

void chat_parser_finish(struct chat_parser *p, chat_on_event *fn, void *user)
{
    p->fn = fn;
    p->user = user;
    p->final = true;
    run(p);
    while (p->state != PARSE_TEXT && p->state != PARSE_THINK) {
        if (p->state == PARSE_TAIL || (p->state == PARSE_SECTION && p->section_calls))
            break; /* only the end of the last call is missing */
        if (p->state == PARSE_CHANNEL || p->state == PARSE_MESSAGE)
            parse_harmony_finish(p);
        else
            (void)parse_fail(p, "the answer ended in the middle of a call");
        run(p);
    }
    if (p->state == PARSE_TEXT && p->space.n && !p->trim)
        emit_text(p, CHAT_CONTENT, p->space.data, p->space.n);
    say(p);
    buf_reset(&p->space);
}
