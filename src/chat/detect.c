/* Which format a model's calls have: the template's own rendering of a call is parsed in each, and the one in
 * which it comes out right is it. Templates that do not render calls are known by texts in them. */
#include <stdlib.h>

#include "chat/chat_int.h"
#include "chat/parse_int.h"

struct found {
    bool name, end;
    struct buf args;
    const char *want_name;
};

static void on_event(void *user, const struct chat_event *ev)
{
    struct found *f = user;
    if (ev->call) return;
    if (ev->kind == CHAT_CALL) f->name = !strcmp(ev->name, f->want_name);
    if (ev->kind == CHAT_ARGS) buf_add(&f->args, ev->text, ev->n);
    if (ev->kind == CHAT_CALL_END) f->end = true;
}

/* Whether text, from here on, has the call in this format. */
static bool parses(const struct chat_format *f, const struct wire_row *w, const char *text,
                   const struct chat_probe *c)
{
    struct chat_format as = {.caps = f->caps};
    struct chat_parse_options o = {.tools = true, .id_seed = 1};
    struct found got = {.want_name = c->name};
    struct chat_parser *p;
    as.caps.wire = &w->w;
    if (chat_parser_new(&p, &as, &o, NULL) != OK) return false;
    p->warned = true; /* that other formats do not fit is no news */
    chat_parser_push(p, text, strlen(text), on_event, &got);
    chat_parser_finish(p, on_event, &got);
    json_t *args = json_loadb(got.args.n ? got.args.data : "", got.args.n, 0, NULL);
    const char *value = json_string_value(json_object_get(args, c->key));
    bool good = got.name && got.end && value && !strcmp(value, c->value);
    json_decref(args);
    buf_deinit(&got.args);
    chat_parser_free(p);
    return good;
}

/* Calls without a trigger begin with a bracket, somewhere before the function's name. */
static bool fits(const struct chat_format *f, const struct wire_row *w, const char *text,
                 const struct chat_probe *c)
{
    const char *name = strstr(text, c->name);
    if (!name) return false;
    if (!w->bare) return parses(f, w, text, c);
    for (const char *s = text; (s = strchr(s, w->bare)) && s < name; s++)
        if (parses(f, w, s, c)) return true;
    return false;
}

static bool has_signs(const struct wire_row *w, const char *text)
{
    if (!w->sign[0]) return false;
    for (size_t i = 0; i < COUNT_OF(w->sign) && w->sign[i]; i++)
        if (!strstr(text, w->sign[i])) return false;
    return true;
}

const struct chat_wire *chat_wire_detect(const struct chat_format *f, const struct chat_probe *call)
{
    const struct chat_template *t = f->with_tools.tree ? &f->with_tools : &f->plain;
    const struct chat_wire *w;
    for (size_t i = 0; (w = chat_wire_at(i)); i++) {
        const struct wire_row *row = wire_row(w);
        bool special =
            row->kind == WIRE_HARMONY || row->lead; /* their calls need what stands before the answer */
        if (special ? has_signs(row, t->text) : fits(f, row, call->text, call)) return w;
    }
    for (size_t i = 0; f->caps.tools && (w = chat_wire_at(i)); i++)
        if (has_signs(wire_row(w), t->text)) return w;
    return chat_wire_find("hermes");
}
