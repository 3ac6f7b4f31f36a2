/* How an engine serves many: rows of options, and from them its options. */
#ifndef CORRAL_CLI_SERVING_H
#define CORRAL_CLI_SERVING_H

#include "cli/session.h"

struct serving_options {
    int64_t parallel, queue, kv_bytes, step_tokens, draft_max;
    double target_itl, age, queue_timeout, first_timeout, total_timeout, keep_alive;
    double comment;
    bool prefix_cache, deterministic, step_ahead, strict, request_templates;
    const char *draft;
};

/* o: a struct serving_options with static storage. */
#define SERVING_OPTS(o)                                                                                     \
    {.name = "", .help = "Requests that share a model"},                                                    \
    {.name = "parallel", .letter = 'p', .type = OPT_INT, .at = &(o).parallel, .min = 1, .max = 1024,        \
     .def = "16", .unit = "sequences", .help = "how many are answered at once"},                            \
    {.name = "queue", .type = OPT_INT, .at = &(o).queue, .min = 1, .max = 1000000, .def = "256",            \
     .unit = "sequences", .help = "how many may wait; more are answered 429"},                              \
    {.name = "kv-bytes", .type = OPT_INT, .at = &(o).kv_bytes, .min = 0, .max = 1LL << 50, .def = "0",      \
     .unit = "bytes",                                                                                       \
     .help = "memory for the KV cache; 0: --parallel times --ctx, at most a quarter of memory"},            \
    {.name = "prefix-cache", .type = OPT_BOOL, .at = &(o).prefix_cache, .def = "true",                      \
     .help = "keep the KV of prompts for those that begin alike"},                                          \
    {.name = "deterministic", .type = OPT_BOOL, .at = &(o).deterministic,                                   \
     .help = "GPUs: answers do not depend on what runs beside them, as they never do on the CPU; slower"},  \
    {.name = "step-ahead", .type = OPT_BOOL, .at = &(o).step_ahead, .def = "true",                          \
     .help = "GPUs: plan and queue the next step while one runs; answers stay the same"},                   \
    {.name = "draft-max", .type = OPT_INT, .at = &(o).draft_max, .min = 0, .max = 64, .def = "8",           \
     .unit = "tokens",                                                                                      \
     .help = "how many are guessed ahead where the text repeats itself; answers stay the same; 0: none"},   \
    {.name = "draft", .type = OPT_STR, .at = &(o).draft, .arg = "MODEL",                                    \
     .help = "small model of the same vocabulary that guesses too: a file, or a name as for --model"},      \
    {.name = "target-itl", .type = OPT_FLOAT, .at = &(o).target_itl, .min = 0, .max = 60, .def = "0.25",    \
     .unit = "s",                                                                                           \
     .help = "longest pause between two tokens of an answer while prompts are read beside it; 0: prompts "  \
             "are read as fast as they can be"},                                                            \
    {.name = "step-tokens", .type = OPT_INT, .at = &(o).step_tokens, .min = 16, .max = 65536, .def = "256", \
     .unit = "tokens", .help = "how many are computed in one step at most"},                                \
    {.name = "age", .type = OPT_FLOAT, .at = &(o).age, .min = 0, .max = 86400, .def = "10", .unit = "s",    \
     .help = "a request that has waited so long counts as of one priority higher; 0: never"},               \
    {.name = "queue-timeout", .type = OPT_FLOAT, .at = &(o).queue_timeout, .min = 0, .max = 86400,          \
     .def = "120", .unit = "s", .help = "how long a request may wait before it starts; 0: no limit"},       \
    {.name = "first-token-timeout", .type = OPT_FLOAT, .at = &(o).first_timeout, .min = 0, .max = 86400,    \
     .def = "120", .unit = "s", .help = "how long it may have no token yet; 0: no limit"},                  \
    {.name = "total-timeout", .type = OPT_FLOAT, .at = &(o).total_timeout, .min = 0, .max = 86400,          \
     .def = "0", .unit = "s", .help = "how long it may take in all; 0: no limit"}

#define SLEEP_OPTS(o)                                                                                       \
    {.name = "keep-alive", .type = OPT_FLOAT, .at = &(o).keep_alive, .min = 0, .max = 1e8, .def = "0",      \
     .unit = "s",                                                                                           \
     .help = "after so long without work, give memory back until the next request; 0: never"}

/* What a request may say and how a stream is kept alive. */
#define ANSWER_OPTS(o)                                                                                      \
    {.name = "strict", .type = OPT_BOOL, .at = &(o).strict,                                                 \
     .help = "refuse fields of requests that would have no effect (default: X-Corral-Ignored names them)"}, \
    {.name = "request-templates", .type = OPT_BOOL, .at = &(o).request_templates,                           \
     .help = "take chat templates from requests (chat_template); each may cost seconds of a processor"},    \
    {.name = "comment-interval", .type = OPT_FLOAT, .at = &(o).comment, .min = 0.05, .max = 86400,          \
     .def = "15", .unit = "s",                                                                              \
     .help = "between signs of life on a stream that has nothing to say, so that nobody in between ends it"}

/* Over what session_engine_options has filled in. draft, zeroed, is opened if there is to be a draft model
 * for s; close it after the engine, also after a failure. */
status serving_apply(struct engine_options *out, const struct serving_options *o,
                     const struct session_options *model, const struct session *s, struct session *draft,
                     struct error *e);

#endif
