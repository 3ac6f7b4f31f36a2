/* A request for generated text, whatever family of API it came from. */
#ifndef CORRAL_API_REQUEST_H
#define CORRAL_API_REQUEST_H

#include "api/api.h"
#include "sample/sample.h"
#include "text/tokenizer.h"

enum { REQUEST_MAX_CHOICES = 128, REQUEST_MAX_STOPS = 64, REQUEST_MAX_TOP = 20, REQUEST_MAX_DEPTH = 64 };

/* What is wrong with a request, to be rendered in its family's shape. */
struct fault {
    int code; /* HTTP status */
    const char *type, *reason; /* OpenAI's "type" and "code"; reason may be NULL */
    char param[64];            /* "" when it is about no field */
    char msg[384];
    uint32_t n_prompt, n_ctx; /* context_length_exceeded: both counts, else 0 */
};
/* Returns false, so that a parser can `return refuse(...)`. */
bool refuse(struct fault *f, int code, const char *reason, const char *param, const char *fmt, ...)
    PRINTF_LIKE(5, 6);

struct request {
    bool chat; /* else text completion */
    bool stream, include_usage, echo;
    struct tok_ids *prompt; /* n_prompt lists of tokens */
    struct buf *prompt_text; /* as text, when echo is on */
    uint32_t n_prompt;
    uint32_t n;          /* choices for each prompt */
    uint32_t max_tokens; /* 0: until the context is full */
    char **stop;
    size_t n_stop;
    bool logprobs;
    struct sample_params params; /* its lists are the members below */
    struct sample_bias *bias;
    struct tok_ids breaker_ids;
    uint32_t *breaker_at;
    struct buf ignored; /* "a, b": fields that were accepted and have no effect */
};
void request_deinit(struct request *r); /* a zeroed one is fine */

struct json_t;
/* The fields of sample_params by name, each a typed row with its range. */
enum param_found { PARAM_UNKNOWN, PARAM_SET, PARAM_BAD };
enum param_found param_set(struct sample_params *p, const char *name, const struct json_t *v, struct fault *f);

/* OpenAI's /v1/chat/completions (chat) and /v1/completions. r must be zeroed; deinit it also after false. */
struct api_model { /* what parsing needs to know */
    const struct tokenizer *tok;
    const char *name;
    const char *const *alias;
    size_t n_alias;
};
bool openai_parse(struct request *r, bool chat, const struct api_model *m, struct http_str body, struct fault *f);

#endif
