/* Conversations: messages to a prompt by the model's chat template, and the model's answer back to content,
 * reasoning and tool calls. docs/tool-calling.md says which formats there are and how they are recognised.
 *
 * A chat_format belongs to a model: its template, what the template can do (found out by rendering probes)
 * and how the model writes calls. It never changes, any number of threads may use it. A chat_parser belongs
 * to one answer and one thread. */
#ifndef CORRAL_CHAT_H
#define CORRAL_CHAT_H

#include <jansson.h>
#include <time.h>

#include "base/buf.h"
#include "text/tokenizer.h"

struct chat_format;
struct gguf;

/* How arguments stand in a call. */
enum chat_args {
    CHAT_ARGS_JSON,   /* a JSON object */
    CHAT_ARGS_TAGGED, /* for each: param_head, value, param_tail. Strings as they are, other values as JSON */
    CHAT_ARGS_PYTHON, /* key=value, key=value with Python's literals */
    CHAT_ARGS_GEMMA,  /* {key:value,key:value}, strings between `quote` and `quote`, keys bare */
};

/* How a model writes tool calls, enough to constrain it:
 *     begin, head ARGS tail, between, head ARGS tail, ..., end
 * {name} in head is the function's name, {id} the call's identifier (letters and digits), {index} its number
 * from 0; {key} in param_head is the parameter's name, {type} the value's JSON type, {string} "true" where
 * it is a string, else "false". A blank or line end written here is what the model writes; the parser takes
 * any blanks or none. */
struct chat_wire {
    const char *name;       /* "hermes", ..., "none": no calls, all other strings are "" */
    const char *trigger;    /* with which calls begin, and nothing else does; "": with the answer itself */
    const char *begin, *end;
    const char *head, *tail, *between;
    enum chat_args args;
    const char *param_head, *param_tail, *between_params; /* TAGGED */
    const char *quote;      /* GEMMA */
    bool parallel;          /* more than one call in an answer */
};

struct chat_caps {
    bool system_role, tools, tool_calls, parallel_calls;
    bool typed_content; /* content must be a list of parts */
    bool object_args;   /* arguments of calls as an object; else as JSON text */
    bool thinks;        /* answers may have a reasoning section */
    bool think_switch;  /* enable_thinking (or thinking, reasoning_effort) changes the prompt */
    const char *think_begin, *think_end; /* "" when none */
    bool control_tokens;  /* the parser needs control tokens written out: text_stream_new's `special` */
    const struct chat_wire *wire; /* never NULL */
};

/* template_text NULL: ChatML. t, borrowed, gives bos_token and eos_token; NULL: only text can be rendered.
 * ERR_FORMAT: the template does not parse. */
status chat_format_new(struct chat_format **out, const struct tokenizer *t, const char *template_text,
                       size_t n, struct error *e);
/* The templates of a model file: tokenizer.chat_template, and tokenizer.chat_template.tool_use where tools
 * are given. A file without is ChatML. */
status chat_format_of_model(struct chat_format **out, const struct tokenizer *t, const struct gguf *g,
                            struct error *e);
void chat_format_free(struct chat_format *f); /* NULL is fine */
const struct chat_caps *chat_format_caps(const struct chat_format *f);
const char *chat_format_template(const struct chat_format *f, size_t *n); /* its text */

enum chat_think { CHAT_THINK_DEFAULT, CHAT_THINK_ON, CHAT_THINK_OFF };
struct chat_input {
    const json_t *messages; /* OpenAI's: role, content (string, list of parts or null), tool_calls
                             * (arguments as JSON text or as an object), tool_call_id, name,
                             * reasoning_content */
    const json_t *tools;    /* [{"type": "function", "function": {...}}], or NULL */
    const json_t *kwargs;   /* more variables for the template, before ours; or NULL */
    enum chat_think think;
    const char *effort;     /* reasoning_effort, or NULL */
    bool answer;            /* end with the head of the assistant's turn */
    bool continue_last;     /* the last message is the assistant's, and its text is to be continued */
    const struct tm *now;   /* for strftime_now; NULL: local time */
};
/* Append the prompt to ids and text, either of which may be NULL. Text from messages and tools never becomes
 * control tokens, whatever it says. *think_open (may be NULL): the prompt has opened the reasoning section,
 * the answer begins in it. ERR_ARG: the template refuses the conversation, or messages are not what they
 * should be. */
status chat_encode(const struct chat_format *f, const struct chat_input *in, struct tok_ids *ids,
                   struct buf *text, bool *think_open, struct error *e);

enum chat_event_kind {
    CHAT_CONTENT,
    CHAT_REASONING,
    CHAT_CALL,    /* a call begins: its number from 0, name and id */
    CHAT_ARGS,    /* a part of its arguments; all parts together are a JSON object */
    CHAT_CALL_END /* the arguments are whole.
                   * Missing: the answer broke off, or was malformed, in the middle of them */
};
struct chat_event {
    enum chat_event_kind kind;
    const char *text;      /* CONTENT, REASONING, ARGS: n bytes, never 0 */
    size_t n;
    uint32_t call;         /* CALL, ARGS, CALL_END */
    const char *name, *id; /* CALL, NUL-terminated */
};
typedef void chat_on_event(void *user, const struct chat_event *ev);

struct chat_parse_options {
    bool tools;              /* look for calls; else they stay content */
    bool reasoning;          /* separate reasoning; else it stays content, with its tags */
    bool think_open;         /* from chat_encode */
    const json_t *tool_list; /* types of parameters for tagged formats, known names for formats without tags;
                                borrowed; or NULL */
    uint64_t id_seed;        /* of the identifiers of calls, where the format brings none; 0: random */
};
/* Text as text_stream writes it, with control tokens written out if caps say so, without the token that
 * ended the turn. The same events come out however the text was cut, but for how CONTENT, REASONING and ARGS
 * are split. Nothing that the model writes is an error: what looks like a call and is none is content, and a
 * warning in the log says so. */
struct chat_parser;
status chat_parser_new(struct chat_parser **out, const struct chat_format *f,
                       const struct chat_parse_options *o, struct error *e);
void chat_parser_push(struct chat_parser *p, const char *text, size_t n, chat_on_event *fn, void *user);
void chat_parser_finish(struct chat_parser *p, chat_on_event *fn, void *user);
void chat_parser_free(struct chat_parser *p); /* NULL is fine */

/* The wire formats by name, for those who override what was found; NULL: unknown, or behind the last. */
const struct chat_wire *chat_wire_find(const char *name);
const struct chat_wire *chat_wire_at(size_t i);
void chat_format_set_wire(struct chat_format *f, const struct chat_wire *w); /* before f is shared */

#endif
