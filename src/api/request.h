/* A request for generated text, whatever family of API it came from: what that family's tables (fields.h)
 * have read, and what is made of it before the engine sees it.
 *
 * A request owns its body, and everything else in it that is a pointer to JSON or text points into that
 * body or into what request_keep was given. */
#ifndef CORRAL_API_REQUEST_H
#define CORRAL_API_REQUEST_H

#include <time.h>

#include "api/constraint.h"
#include "api/fields.h"
#include "chat/chat.h"
#include "http/http.h"
#include "sample/sample.h"
#include "text/tokenizer.h"

enum {
    REQUEST_MAX_CHOICES = 128, /* of all prompts together */
    REQUEST_MAX_STOPS = 64,
    REQUEST_MAX_TOP = 20,
    REQUEST_MAX_DEPTH = 64, /* of the body */
    REQUEST_MAX_TOOLS = 128
};

struct prompt { /* one of those that a request is answered for */
    const char *text; /* to be tokenized, control tokens and all: it is the caller's own template */
    size_t n;
    struct tok_ids ids; /* given, or made of text or of the conversation */
    struct buf echo;    /* request.echo: as text */
};

enum tool_choice { TOOLS_AUTO, TOOLS_NONE, TOOLS_REQUIRED, TOOLS_NAMED };

struct request {
    json_t *body, *kept; /* owned */
    size_t body_bytes;
    bool stream, include_usage, echo;
    bool score_prompt;         /* the prompt's tokens have log-probabilities, too */
    bool prompt_only;          /* nothing is answered: the one token that must be drawn is not shown */
    bool journal;              /* resume.h: the stream has a journal */
    json_t *replay;            /* owned: that of the answer this one goes on with; or NULL */
    const json_t *remembered;  /* messages from this process's memory; or NULL */
    struct tm now;             /* chat.now, for a generation */

    const char *chat_template;  /* Jinja, instead of the model's own; NULL */
    struct chat_format *format; /* owned: made of it while the request is prepared */
    struct chat_input chat; /* a conversation, if it has messages: prompt[0] when rendered. Else prompts */
    enum tool_choice tool_choice;
    const char *tool;       /* TOOLS_NAMED */
    bool one_call;          /* parallel_tool_calls: false */
    int32_t think_budget;   /* tokens of reasoning, then it must end; -1: no limit */
    struct prompt *prompt;
    uint32_t n_prompt;
    const char *suffix; /* fill in the middle: what follows the prompts */
    const char *prediction; /* what the answer may be: makes it faster where that is right */
    struct tok_ids prediction_ids;
    /* NULL, or the family's own way from what it read to prompt[i].ids. On a worker's thread. */
    bool (*encode)(const struct api *api, struct request *r, struct fault *f);

    uint32_t n;          /* choices for each prompt */
    uint32_t best_of;    /* more than n: so many are generated for each, and the best are answered */
    uint32_t max_tokens; /* 0: until the context is full */
    char **stop;
    size_t n_stop;
    bool keep_stop;      /* a stop string that was met is part of the answer */
    struct tok_ids stop_ids;
    bool logprobs;
    bool keep_ids; /* the renderer wants choice.ids */
    struct constraint_spec constraint; /* what the answer must look like */
    struct constraint *compiled;       /* of it */
    struct sample_params params; /* its lists are the members below */
    struct sample_bias *bias;
    struct tok_ids breaker_ids;
    uint32_t *breaker_at;

    int32_t priority;       /* engine_request has what these mean */
    const char *cache_salt;
    uint64_t tenant;
    bool no_cache;
    uint8_t cache_class; /* enum kv_class */
    int64_t queue_timeout_ns, first_timeout_ns, total_timeout_ns;

    bool parse_answer;     /* reasoning and tool calls are told apart from content; set by set_messages */
    bool think_open;       /* the prompt has begun the reasoning; set when it is rendered */
    bool inline_reasoning; /* reasoning_format "none": it stays content */
    bool timings_per_token, return_progress;

    void *extra; /* the family's own, freed with extra_free */
    void (*extra_free)(void *extra);
    struct buf ignored; /* "a, b": fields that had no effect */
};

/* Neutral defaults and a random seed. Families set their own before reading the body. */
void request_init(struct request *r);
void request_deinit(struct request *r);              /* a zeroed one is fine */
void request_keep(struct request *r, json_t *v);     /* takes v over */
void request_add_prompts(struct request *r, size_t n); /* empty ones, once */
/* How its conversation is written: as the model's file says, or the request itself. */
const struct chat_format *request_format(const struct request *r, const struct api *api);
/* It is prepared so soon that the loop need not hand it to a worker. */
bool request_is_short(const struct request *r);
/* The name under which it is answered: the one asked for where any is (api_options.any_model). */
const char *request_model(const struct request *r, const struct api *api);
/* Who asks: clients with one API key are one tenant. 0: no key. */
uint64_t request_tenant(const struct http_exchange *x);
/* Read the body of x into r (initialised) by the table: JSON, fields, tenant, strict mode. */
bool request_read(struct request *r, const struct api *api, const struct field_table *t,
                  struct http_exchange *x, struct fault *f);
/* The same with a body (borrowed) that came otherwise; x says who asks. */
bool request_read_json(struct request *r, const struct api *api, const struct field_table *t,
                       const struct http_exchange *x, json_t *body, struct fault *f);
/* What fields say together; every family calls it after its own rules. */
bool request_check(struct request *r, const struct api *api, struct fault *f);
/* Rendering and tokenizing, whatever r needs: afterwards prompt[i].ids are there. May be slow; on any
 * thread. */
bool request_encode(struct request *r, const struct api *api, struct fault *f);

/* ---- for the tables of families --------------------------------------------------------------------- */

/* temperature ... samplers, seed, logit_bias, stop_token_ids, priority, timeouts: what every family takes
 * under the same names. "more" of their tables. */
extern const struct field_table sampling_fields;

/* Setters that several families use under names of their own. */
bool set_model(struct parse *p, const char *name, const json_t *v);      /* 404 if it is not served here */
bool set_stop(struct parse *p, const char *name, const json_t *v);       /* a string or an array of them */
bool set_seed(struct parse *p, const char *name, const json_t *v);       /* an integer; -1: any */
bool set_max_tokens(struct parse *p, const char *name, const json_t *v); /* from 1; -1: no limit */
bool set_logit_bias(struct parse *p, const char *name, const json_t *v); /* OpenAI's map, llama.cpp's array */
bool set_stop_ids(struct parse *p, const char *name, const json_t *v);
bool set_samplers(struct parse *p, const char *name, const json_t *v);
bool set_dry_breakers(struct parse *p, const char *name, const json_t *v);
bool set_prompt(struct parse *p, const char *name, const json_t *v); /* text, ids, or an array of those */
/* The same, at most so many, which the message calls `what`. */
bool read_prompts(struct parse *p, const char *name, const json_t *v, size_t most, const char *what);
bool set_messages(struct parse *p, const char *name, const json_t *v); /* OpenAI's; checked */
bool set_tools(struct parse *p, const char *name, const json_t *v);    /* OpenAI's; checked */
bool set_constraint(struct parse *p, const char *name, const json_t *v); /* constraint_field knows name */

const json_t *find_tool(const struct request *r, const char *function); /* NULL: there is none of this name */
/* Check messages of OpenAI's shape, as a family that made them from its own calls it; chat.messages is then
 * messages, or a copy that request_keep has. */
bool conversation_check(struct parse *p, const char *name, const json_t *messages);

#endif
