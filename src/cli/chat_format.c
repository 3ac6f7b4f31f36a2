#include "cli/chat_format.h"

#include <string.h>

enum { MAX_TEMPLATE = 1 << 20 };

static status open_template(struct chat_format **out, const char *path, const struct session *s,
                            struct error *e)
{
    struct buf text = {.max = MAX_TEMPLATE};
    if (!strcmp(path, "chatml")) return chat_format_new(out, s->tok, NULL, 0, e);
    status r = buf_read_file(&text, path, e);
    if (r == OK) {
        r = chat_format_new(out, s->tok, text.data ? text.data : "", text.n, e);
        if (r != OK) r = fail_in(e, "--chat-template %s", path);
    }
    buf_deinit(&text);
    return r;
}

status chat_format_open(struct chat_format **out, const struct chat_format_options *o,
                        const struct session *s, struct error *e)
{
    const struct chat_wire *wire = o->wire ? chat_wire_find(o->wire) : NULL;
    if (o->wire && !wire)
        return fail(
            e, ERR_ARG,
            "--chat-format %s is not known: docs/tool-calling.md has the names, such as hermes or mistral",
            o->wire);
    if (o->text)
        TRY(open_template(out, o->text, s, e));
    else
        TRY(chat_format_of_model(out, s->tok, s->gguf, e));
    if (wire) chat_format_set_wire(*out, wire);
    return OK;
}
