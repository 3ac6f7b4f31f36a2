/* A call as one JSON object: {"name": ..., "arguments": {...}}, its members in any order. Names of members
 * are taken from all formats, for models mix them up: name, tool_name; arguments, parameters; and OpenAI's
 * own nesting in a member "function". */
#include <stdlib.h>

#include "chat/parse_int.h"

void parse_object_begin(struct chat_parser *p)
{
    struct buf text = p->obj.text;
    p->obj = (struct parse_object){.text = text};
    buf_reset(&p->obj.text);
}

static int member_of(const char *name)
{
    static const struct {
        const char *name;
        int member;
    } table[] = {{"name", MEMBER_NAME},       {"tool_name", MEMBER_NAME},    {"arguments", MEMBER_ARGS},
                 {"parameters", MEMBER_ARGS}, {"function", MEMBER_FUNCTION}, {"id", MEMBER_ID},
                 {"tool_call_id", MEMBER_ID}, {"call_id", MEMBER_ID}};
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (!strcmp(table[i].name, name)) return table[i].member;
    return MEMBER_OTHER;
}

/* The string that was read, NULL: not one. To be freed. */
static char *decode(const struct buf *text)
{
    struct buf quoted = {0};
    buf_addc(&quoted, '"');
    if (text->n) buf_add(&quoted, text->data, text->n);
    buf_addc(&quoted, '"');
    json_t *v = json_loadb(quoted.data, quoted.n, JSON_DECODE_ANY, NULL);
    char *s = json_is_string(v) ? mem_strdup(json_string_value(v)) : NULL;
    json_decref(v);
    buf_deinit(&quoted);
    return s;
}

/* Arguments that came as a string with JSON in it. */
static bool take_args_text(struct chat_parser *p, const char *text)
{
    json_t *v = *text ? json_loads(text, 0, NULL) : json_object();
    bool good = json_is_object(v);
    json_decref(v);
    if (good) buf_adds(&p->out, *text ? text : "{}");
    p->obj.has_args = good;
    return good;
}

static bool end_string(struct chat_parser *p)
{
    struct parse_object *o = &p->obj;
    char *s = decode(&o->text);
    bool good = s != NULL;
    buf_reset(&o->text);
    if (s && o->is_key) {
        o->member = member_of(s);
        /* Without a tag before it, an object that begins otherwise is somebody's JSON. */
        if (p->w->bare && !o->any_key && !o->nested && o->member == MEMBER_OTHER && strcmp(s, "type") != 0)
            good = false;
        o->any_key = true;
        o->state = OBJECT_COLON;
    } else if (s) {
        o->state = OBJECT_NEXT;
        if ((o->member == MEMBER_NAME || o->member == MEMBER_FUNCTION) && !p->cap.name[0]) {
            good = *s && strlen(s) < sizeof p->cap.name;
            if (good) memcpy(p->cap.name, s, strlen(s) + 1);
        } else if (o->member == MEMBER_ID && strlen(s) < sizeof p->cap.id && !p->announced) {
            memcpy(p->cap.id, s, strlen(s) + 1);
        } else if (o->member == MEMBER_ARGS && !o->has_args) {
            good = take_args_text(p, s);
        }
    }
    free(s);
    return good;
}

static bool begin_value(struct chat_parser *p, char c)
{
    struct parse_object *o = &p->obj;
    if (c == '"') {
        o->is_key = false;
        o->state = OBJECT_STRING;
        return true;
    }
    if (o->member == MEMBER_FUNCTION && c == '{' && !o->nested) {
        o->nested = true;
        o->state = OBJECT_KEY;
        return true;
    }
    bool args = o->member == MEMBER_ARGS && !o->has_args && c == '{';
    if (args && p->cap.name[0] && !parse_announce(p)) return false;
    o->has_args |= args;
    o->state = args ? OBJECT_ARGS : OBJECT_SKIP;
    literal_init(&p->lit, SYNTAX_JSON, NULL, false, &p->out);
    buf_reset(&o->text);
    return literal_feed(&p->lit, c, args ? &p->out : &o->text) == LITERAL_MORE;
}

/* The end of an object: the call's, or the one inside of it. */
static bool close_object(struct chat_parser *p)
{
    struct parse_object *o = &p->obj;
    if (o->nested) {
        o->nested = false;
        o->state = OBJECT_NEXT;
        return true;
    }
    if (!p->cap.name[0]) return false;
    if (p->w->bare && !o->has_args) return false;
    if (!o->has_args) buf_adds(&p->out, "{}");
    if (!parse_announce(p)) return false;
    parse_end_call(p, p->w->w.tail + 1); /* without the bracket */
    return true;
}

static bool feed(struct chat_parser *p, char c, bool *again)
{
    struct parse_object *o = &p->obj;
    *again = false;
    if (o->state != OBJECT_STRING && o->state != OBJECT_SKIP && o->state != OBJECT_ARGS && parse_is_space(c))
        return true;
    switch (o->state) {
    case OBJECT_OPEN: o->state = OBJECT_KEY; return c == '{';
    case OBJECT_KEY:
        if (c == '}') return close_object(p);
        o->is_key = true;
        o->state = OBJECT_STRING;
        return c == '"';
    case OBJECT_STRING:
        if (c == '"' && !o->escaped) return end_string(p);
        o->escaped = c == '\\' && !o->escaped;
        if (o->is_key && o->text.n > sizeof p->cap.key) return false;
        buf_addc(&o->text, c);
        return true;
    case OBJECT_COLON: o->state = OBJECT_VALUE; return c == ':';
    case OBJECT_VALUE: return begin_value(p, c);
    case OBJECT_NEXT:
        if (c == '}') return close_object(p);
        o->state = OBJECT_KEY;
        return c == ',';
    default: break;
    }
    enum literal_step s = literal_feed(&p->lit, c, o->state == OBJECT_ARGS ? &p->out : &o->text);
    if (s == LITERAL_DONE || s == LITERAL_DONE_BEFORE) o->state = OBJECT_NEXT;
    if (o->state == OBJECT_NEXT) buf_reset(&o->text);
    *again = s == LITERAL_DONE_BEFORE;
    return s != LITERAL_BAD;
}

bool parse_object(struct chat_parser *p)
{
    while (p->at < p->in.n && p->state == PARSE_OBJECT) {
        bool again;
        if (!feed(p, p->in.data[p->at], &again)) return parse_fail(p, "a JSON object that is no call");
        p->at += !again;
    }
    return p->state != PARSE_OBJECT;
}
