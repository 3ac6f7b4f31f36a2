/* The inside of the parser. Private to src/chat.
 *
 * Text waits in `in` until it is certain what it is: everything before `at` has been read. A step reads on
 * from there and says whether it got anywhere; if not, more text is needed. From `raw` on, text may still
 * turn out to be content: the call that it looks like has not been announced yet. */
#ifndef CORRAL_CHAT_PARSE_INT_H
#define CORRAL_CHAT_PARSE_INT_H

#include <string.h>

#include "chat/chat_int.h"
#include "chat/literal.h"
#include "chat/wire.h"

enum parse_state {
    PARSE_TEXT,
    PARSE_THINK,
    PARSE_SECTION, /* between calls: another one, or the end */
    PARSE_HEAD,
    PARSE_ARGS,    /* before and in arguments of one literal */
    PARSE_OBJECT,  /* a call that is one JSON object */
    PARSE_PARAMS,  /* tagged: before a parameter, or the call's end */
    PARSE_VALUE,   /* in a parameter */
    PARSE_TAIL,
    PARSE_CHANNEL, /* harmony: the head of a message */
    PARSE_MESSAGE
};

enum { MAX_MARKS = 16 };

struct parse_mark { /* a text that means something in content */
    const char *text;
    enum { MARK_THINK, MARK_THINK_END, MARK_CALL, MARK_DROP } what;
    const struct wire_row *wire;
};

struct parse_object {
    enum {
        OBJECT_OPEN, OBJECT_KEY, OBJECT_STRING, OBJECT_COLON,
        OBJECT_VALUE, OBJECT_SKIP, OBJECT_ARGS, OBJECT_NEXT
    } state;
    enum { MEMBER_OTHER, MEMBER_NAME, MEMBER_ARGS, MEMBER_ID, MEMBER_FUNCTION } member;
    bool is_key, escaped, nested, has_args, any_key;
    struct buf text; /* the string being read, as written */
};

enum param_type { PARAM_TEXT, PARAM_JSON, PARAM_EITHER };

struct chat_parser {
    const struct chat_format *f;
    struct chat_parse_options o;
    struct parse_mark mark[MAX_MARKS];
    uint32_t n_mark;
    const struct wire_row *w; /* of the calls that we are in */
    const char *head;         /* PARSE_HEAD: where in its head the call begins */
    const struct wire_row *bare; /* calls may begin without a trigger; NULL: they do not */

    struct buf in;
    size_t at, raw, scan; /* raw: SIZE_MAX when there is none; scan: searched up to here */
    uint32_t next_mark;   /* marks behind the one that the call began with */
    size_t n_trigger;     /* bytes from raw that become content if there is no call */
    enum parse_state state;
    bool final;   /* no more text will come */
    bool fresh;   /* no content yet, or since the last call */
    bool trim;    /* blanks that come next are not content */
    bool warned;

    struct buf space; /* blanks that are content only if content follows */
    struct buf said;  /* content or reasoning to be sent */
    enum chat_event_kind said_kind;
    struct buf out;   /* arguments to be sent */
    struct buf id;
    uint32_t n_calls;
    bool announced; /* the call we are in */
    bool any_param;
    bool section_calls; /* a call of this section was announced */
    struct captures cap;
    struct chat_literal lit;
    struct parse_object obj;
    const char *tail; /* what is left of it */
    enum param_type param;
    bool value_begun;
    struct { bool reasoning, raw; } channel; /* harmony's message; raw: as it stands, with its marks */

    chat_on_event *fn;
    void *user;
};

/* parse.c */
void parse_emit(struct chat_parser *p, const struct chat_event *ev);
/* blanks held back */
void parse_text(struct chat_parser *p, enum chat_event_kind kind, const char *text, size_t n);
size_t parse_partial(const char *s, size_t n, const char *mark); /* bytes at the end of s that begin mark */
/* parse_call.c */
void parse_begin_calls(struct chat_parser *p, const struct wire_row *w, size_t n_trigger, const char *head);
bool parse_other_wire(struct chat_parser *p); /* at raw: another format with the same trigger */
bool parse_announce(struct chat_parser *p);
void parse_flush_args(struct chat_parser *p);
void parse_end_call(struct chat_parser *p, const char *tail);
bool parse_fail(struct chat_parser *p, const char *why); /* the call is none, or broken: go on as content */
bool parse_section(struct chat_parser *p);
bool parse_head(struct chat_parser *p);
bool parse_args(struct chat_parser *p);
bool parse_tail(struct chat_parser *p);
/* parse_object.c, parse_tagged.c, parse_harmony.c */
void parse_object_begin(struct chat_parser *p);
bool parse_object(struct chat_parser *p);
bool parse_params(struct chat_parser *p);
bool parse_value(struct chat_parser *p);
bool parse_channel(struct chat_parser *p);
bool parse_message(struct chat_parser *p);
void parse_harmony_finish(struct chat_parser *p);

static inline bool parse_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}
static inline const char *parse_rest(const struct chat_parser *p, size_t *n)
{
    *n = p->in.n - p->at;
    return p->in.n ? p->in.data + p->at : "";
}

#endif
