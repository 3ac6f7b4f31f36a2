/* A prompt as text and as token ids. Text from clients never becomes control tokens, whatever it says.
 *
 * The rendered text is cut at control tokens, each of which the template wrote, or a client. To tell which,
 * the conversation is rendered a second time, with a random word put behind every character of the client's
 * text that a control token may begin with and before every one that it may end with: what is still a control
 * token there is the template's, for even one put together from pieces of several messages is broken. If both
 * renderings have the same control tokens, the first is clean, and it nearly always is. Else the second is
 * used, with the random words taken out of the text between its control tokens. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/rng.h"
#include "base/utf8.h"
#include "chat/chat_int.h"
#include "chat/wire.h"

enum { MARK_BYTES = 16 };

struct marker {
    const struct tokenizer *tok;
    char word[MARK_BYTES + 1];
    const struct chat_chars *first, *last; /* of control tokens */
    bool narrow; /* only inside of whole control tokens: a template that looks at content sees the rest */
    size_t n_marks;
    bool failed;
};

/* A rendered conversation, cut at control tokens. */
struct prompt {
    struct buf text;
    struct tok_stretch *cut;
    size_t n_cut;
    bool think_open;
};

/* Variables to text. */
static status render(const struct chat_template *t, const json_t *vars, const struct tm *now, struct buf *out,
                     struct error *e)
{
    struct jinja_fault fault = {0};
    struct jinja_options o = {.now = now, .lenient = true};
    status r = jinja_render(t->tree, vars, &o, out, &fault, e);
    if (r == OK) return OK;
    return fail_in(e, fault.cause == JINJA_RAISED ? "the model's chat template refuses this conversation"
                                                  : "the model's chat template failed");
}

/* --- marks --- */

static bool is_control(const struct tokenizer *t, int32_t id)
{
    enum tok_attr a = tokenizer_attr(t, id);
    return a == TOK_CONTROL || a == TOK_UNKNOWN;
}

static bool set_has(const struct chat_chars *s, uint32_t c)
{
    return s->has[MIN(c, 128u)];
}

void chat_find_edges(struct chat_format *f)
{
    for (uint32_t id = 0; f->tok && id < tokenizer_n_vocab(f->tok); id++) {
        size_t n;
        const char *s = tokenizer_text(f->tok, (int32_t)id, &n);
        if (n < 2 || !is_control(f->tok, (int32_t)id)) continue; /* one byte cannot be broken */
        f->first.has[MIN((uint8_t)s[0], 128)] = true;
        f->last.has[MIN((uint8_t)s[n - 1], 128)] = true;
    }
}

static void marker_init(struct marker *m, const struct chat_format *f)
{
    static const char letter[] = "0123456789abcdefghijklmnopqrstuv";
    uint64_t r[2] = {rng_seed_from_os(), rng_seed_from_os()};
    *m = (struct marker){.tok = f->tok, .first = &f->first, .last = &f->last};
    for (size_t i = 0; i < MARK_BYTES; i++) m->word[i] = letter[r[i / 8] >> i % 8 * 5 & 31];
}

static void mark_wide(struct marker *m, const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t c;
        len = utf8_decode(s + i, n - i, &c);
        bool first = set_has(m->first, c), last = set_has(m->last, c);
        if (last) buf_add(out, m->word, MARK_BYTES);
        buf_add(out, s + i, len);
        if (first) buf_add(out, m->word, MARK_BYTES);
        m->n_marks += first + last;
    }
}

static void mark_narrow(struct marker *m, const char *s, size_t n, struct buf *out)
{
    struct tok_stretch *cut = NULL;
    size_t n_cut = 0;
    struct error e;
    m->failed |= tokenizer_cut(m->tok, s, n, &cut, &n_cut, &e) != OK;
    for (size_t i = 0; i < n_cut; i++) {
        size_t begin = cut[i].begin, end = cut[i].end;
        if (cut[i].id >= 0 && is_control(m->tok, cut[i].id)) {
            uint32_t c;
            size_t len = utf8_decode(s + begin, end - begin, &c);
            buf_add(out, s + begin, len);
            buf_add(out, m->word, MARK_BYTES);
            begin += len;
            m->n_marks++;
        }
        buf_add(out, s + begin, end - begin);
    }
    free(cut);
}

static void mark_text(struct marker *m, const char *s, size_t n, struct buf *out)
{
    if (m->narrow)
        mark_narrow(m, s, n, out);
    else
        mark_wide(m, s, n, out);
}

static json_t *mark_json(struct marker *m, const json_t *v);

static json_t *mark_object(struct marker *m, const json_t *v)
{
    json_t *out = json_object(), *member;
    const char *key;
    size_t n;
    json_object_keylen_foreach((json_t *)v, key, n, member)
    {
        /* These say what a message or a part is; templates compare them. */
        bool keep = !strcmp(key, "role") || !strcmp(key, "type");
        struct buf name = {0};
        mark_text(m, key, n, &name);
        m->failed |= name.failed || json_object_setn_new(out, name.n ? name.data : "", name.n,
                                                         keep ? json_incref(member) : mark_json(m, member));
        buf_deinit(&name);
    }
    return out;
}

/* A new value: v with marks in its strings. */
static json_t *mark_json(struct marker *m, const json_t *v)
{
    const json_t *member;
    size_t i;
    if (json_is_object(v)) return mark_object(m, v);
    if (json_is_array(v)) {
        json_t *out = json_array();
        json_array_foreach((json_t *)v, i, member) json_array_append_new(out, mark_json(m, member));
        return out;
    }
    if (!json_is_string(v)) return json_incref((json_t *)v);
    struct buf text = {0};
    mark_text(m, json_string_value(v), json_string_length(v), &text);
    json_t *out = json_stringn(text.n ? text.data : "", text.n);
    m->failed |= text.failed || !out;
    buf_deinit(&text);
    return out ? out : json_string("");
}

static json_t *mark_vars(struct marker *m, json_t *vars)
{
    json_t *bos = json_incref(json_object_get(vars, "bos_token")),
           *eos = json_incref(json_object_get(vars, "eos_token"));
    json_t *out = mark_json(m, vars);
    json_object_set_new(out, "bos_token", bos);
    json_object_set_new(out, "eos_token", eos);
    return out;
}

static void strip_marks(const struct marker *m, const char *s, size_t n, struct buf *out)
{
    const char *end = s + n, *next;
    for (; (next = memmem(s, (size_t)(end - s), m->word, MARK_BYTES)); s = next + MARK_BYTES)
        buf_add(out, s, (size_t)(next - s));
    buf_add(out, s, (size_t)(end - s));
}

/* --- prompts --- */

static void prompt_deinit(struct prompt *p)
{
    buf_deinit(&p->text);
    free(p->cut);
}

/* Cut at control tokens only: tokens that a user may write stay text. */
static status cut_controls(const struct tokenizer *t, struct prompt *p, struct error *e)
{
    struct tok_stretch *cut;
    size_t n, k = 0;
    TRY(tokenizer_cut(t, p->text.n ? p->text.data : "", p->text.n, &cut, &n, e));
    for (size_t i = 0; i < n; i++) {
        struct tok_stretch c = cut[i];
        if (c.id >= 0 && !is_control(t, c.id)) c.id = -1;
        if (k && c.id < 0 && cut[k - 1].id < 0)
            cut[k - 1].end = c.end;
        else
            cut[k++] = c;
    }
    p->cut = cut;
    p->n_cut = k;
    return OK;
}

static bool same_controls(const struct prompt *a, const struct prompt *b)
{
    size_t i = 0, k = 0;
    for (;; i++, k++) {
        while (i < a->n_cut && a->cut[i].id < 0) i++;
        while (k < b->n_cut && b->cut[k].id < 0) k++;
        if (i == a->n_cut || k == b->n_cut) return i == a->n_cut && k == b->n_cut;
        if (a->cut[i].id != b->cut[k].id) return false;
    }
}

static bool ends_with(const struct buf *b, const char *tail)
{
    size_t n = b->n, n_tail = strlen(tail);
    while (n && strchr(" \t\r\n", b->data[n - 1])) n--;
    return n_tail && n >= n_tail && !memcmp(b->data + n - n_tail, tail, n_tail);
}

/* Text of a client, with marks if there is a marker. */
static void add_own(const struct buf *part, struct marker *m, struct buf *out)
{
    if (m)
        mark_text(m, part->data, part->n, out);
    else
        buf_add(out, part->data, part->n);
}

/* The beginning of the answer, which is the last message, behind the head of its turn. */
static status add_beginning(const struct chat_format *f, const struct chat_input *in, struct marker *m,
                            struct prompt *p, struct error *e)
{
    size_t at = json_array_size(in->messages) - 1;
    const json_t *last = json_array_get(in->messages, at);
    struct buf part[2] = {0};
    status r = chat_content_text(&part[0], json_object_get(last, "reasoning_content"), at, e);
    if (r == OK) r = chat_content_text(&part[1], json_object_get(last, "content"), at, e);
    const char *gap = strchr(f->caps.think_begin, '|') ? "" : "\n"; /* tags of control tokens need no lines */
    if (r == OK && part[0].n) {
        if (!p->think_open) buf_addf(&p->text, "%s%s", f->caps.think_begin, gap);
        add_own(&part[0], m, &p->text);
        p->think_open = true;
    }
    if (r == OK && part[1].n) {
        if (p->think_open) {
            buf_addf(&p->text, "%s%s%s%s", gap, f->caps.think_end, gap, gap);
            buf_adds(&p->text, f->tags->next ? f->tags->next : "");
        }
        if (f->tags->content && !ends_with(&p->text, f->tags->content)) buf_adds(&p->text, f->tags->content);
        add_own(&part[1], m, &p->text);
        p->think_open = false;
    }
    buf_deinit(&part[0]);
    buf_deinit(&part[1]);
    return r;
}

/* The conversation as text, with marks if m is not NULL, and cut if there is a tokenizer. p is zeroed. */
static status render_prompt(const struct chat_format *f, const struct chat_input *in, json_t *vars,
                            struct marker *m, struct prompt *p, struct error *e)
{
    json_t *marked = m ? mark_vars(m, vars) : json_incref(vars);
    if (m && !m->n_marks &&
        !in->continue_last) { /* nothing could be a control token: the caller need not know more */
        json_decref(marked);
        return OK;
    }
    status r = render(chat_template_for(f, in->tools), marked, in->now, &p->text, e);
    json_decref(marked);
    if (r != OK) return r;
    p->think_open = ends_with(&p->text, f->caps.think_begin);
    if (in->continue_last) TRY(add_beginning(f, in, m, p, e));
    if (p->text.failed || (m && m->failed)) return fail(e, ERR_MEMORY, "out of memory for a conversation");
    return f->tok ? cut_controls(f->tok, p, e) : OK;
}

static bool same_text(const struct marker *m, const struct buf *marked, const struct buf *plain)
{
    struct buf text = {0};
    strip_marks(m, marked->n ? marked->data : "", marked->n, &text);
    bool equal = text.n == plain->n && !memcmp(text.n ? text.data : "", plain->n ? plain->data : "", text.n);
    buf_deinit(&text);
    return equal;
}

/* Which of the renderings to tokenize: p as it is, or one with marks, which then replaces it. */
static status choose_prompt(const struct chat_format *f, const struct chat_input *in, json_t *vars,
                            struct marker *m, struct prompt *p, struct error *e)
{
    struct prompt wide = {0}, narrow = {0}, *use = p;
    struct error ignored;
    bool have_wide = render_prompt(f, in, vars, m, &wide, &ignored) == OK;
    status r = OK;
    if (m->failed) r = fail(e, ERR_MEMORY, "out of memory for a conversation");
    if (m->failed || !m->n_marks || (have_wide && same_controls(p, &wide))) goto out;
    m->narrow = true;
    bool have_narrow = render_prompt(f, in, vars, m, &narrow, &ignored) == OK;
    bool exact =
        have_narrow && have_wide && same_controls(&narrow, &wide) && same_text(m, &narrow.text, &p->text);
    if (exact)
        use = &narrow;
    else if (have_wide)
        use = &wide;
    else
        r = fail(e, ERR_ARG,
                 "the messages have control tokens of the model where its chat template needs their text");
    LOG(INFO, "chat", "control_tokens_in_text", "exact=%d", exact);
    struct prompt swap = *p;
    *p = *use;
    *use = swap;
out:
    prompt_deinit(&wide);
    prompt_deinit(&narrow);
    return r;
}

/* m: marks to take out of the text; NULL: there are none. */
static status add_ids(const struct tokenizer *t, const struct prompt *p, const struct marker *m,
                      struct tok_ids *ids, struct error *e)
{
    struct buf text = {0};
    struct tok_options o = {.bos = TOK_BOS_OFF};
    status r = OK;
    if (tokenizer_adds_bos(t) && !(p->n_cut && p->cut[0].id == tokenizer_bos(t)))
        tok_ids_add(ids, tokenizer_bos(t));
    for (size_t i = 0; r == OK && i < p->n_cut; i++) {
        const struct tok_stretch *c = &p->cut[i];
        if (c->id >= 0) {
            tok_ids_add(ids, c->id);
            continue;
        }
        buf_reset(&text);
        strip_marks(m, p->text.data + c->begin, c->end - c->begin, &text);
        r = text.failed ? fail(e, ERR_MEMORY, "out of memory for a conversation")
                        : tokenizer_encode(t, text.n ? text.data : "", text.n, &o, ids, e);
    }
    buf_deinit(&text);
    return r;
}

status chat_encode(const struct chat_format *f, const struct chat_input *in, struct tok_ids *ids,
                   struct buf *text, bool *think_open, struct error *e)
{
    struct prompt p = {0};
    struct marker m = {0};
    json_t *vars = NULL;
    TRY(chat_prepare(f, in, &vars, e));
    status r = render_prompt(f, in, vars, NULL, &p, e);
    if (r == ERR_ARG && json_array_size(json_object_get(vars, "tools"))) {
        /* Clients leave descriptions out that some templates cannot do without. */
        struct error ignored;
        chat_complete_tools(vars);
        prompt_deinit(&p);
        p = (struct prompt){0};
        if (render_prompt(f, in, vars, NULL, &p, &ignored) == OK) r = OK;
    }
    if (r == OK && f->tok) {
        marker_init(&m, f);
        r = choose_prompt(f, in, vars, &m, &p, e);
    }
    if (r == OK && ids && f->tok) r = add_ids(f->tok, &p, &m, ids, e);
    if (r == OK && text && p.text.n) {
        if (f->tok)
            strip_marks(&m, p.text.data, p.text.n, text);
        else
            buf_add(text, p.text.data, p.text.n);
        if (text->failed) r = fail(e, ERR_MEMORY, "out of memory for a conversation");
    }
    if (r == OK && think_open) *think_open = p.think_open;
    prompt_deinit(&p);
    json_decref(vars);
    return r;
}
