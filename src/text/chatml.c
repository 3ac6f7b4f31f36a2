#include "text/chatml.h"

#include <string.h>

static const char start_mark[] = "<|im_start|>", end_mark[] = "<|im_end|>";

static status add(const struct tokenizer *t, const char *text, size_t n, bool marker, bool first,
                  struct tok_ids *ids, struct error *e)
{
    struct tok_options o = {
        .bos = first ? TOK_BOS_AUTO : TOK_BOS_OFF, .parse_special = marker, .no_prefix = !first};
    return tokenizer_encode(t, text, n, &o, ids, e);
}

/* role\ncontent is one run of text between two markers, as it was in training. */
static status add_turn(const struct tokenizer *t, const struct chat_message *m, struct buf *text, bool first,
                       struct tok_ids *ids, struct error *e)
{
    buf_reset(text);
    buf_add(text, m->role, m->n_role);
    buf_addc(text, '\n');
    buf_add(text, m->content, m->n_content);
    if (text->failed) return fail(e, ERR_MEMORY, "out of memory for a message of %zu bytes", m->n_content);
    TRY(add(t, start_mark, strlen(start_mark), true, first, ids, e));
    return add(t, text->data, text->n, false, false, ids, e);
}

status chatml_encode(const struct tokenizer *t, const struct chat_message *m, size_t n, bool answer,
                     struct tok_ids *ids, struct error *e)
{
    struct buf text = {0};
    status s = OK;
    for (size_t i = 0; s == OK && i < n; i++) {
        s = add_turn(t, &m[i], &text, i == 0, ids, e);
        if (s == OK) s = add(t, end_mark, strlen(end_mark), true, false, ids, e);
        if (s == OK) s = add(t, "\n", 1, false, false, ids, e);
    }
    if (s == OK && answer)
        s = add_turn(t, &(struct chat_message){"assistant", "", 9, 0}, &text, n == 0, ids, e);
    buf_deinit(&text);
    return s;
}

void chatml_render(const struct chat_message *m, size_t n, bool answer, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        buf_adds(out, start_mark);
        buf_add(out, m[i].role, m[i].n_role);
        buf_addc(out, '\n');
        buf_add(out, m[i].content, m[i].n_content);
        buf_adds(out, end_mark);
        buf_addc(out, '\n');
    }
    if (answer) {
        buf_adds(out, start_mark);
        buf_adds(out, "assistant\n");
    }
}
