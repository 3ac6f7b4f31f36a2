/* OpenAI's Responses API, on conversations like chat/completions. Without previous_response_id it is
 * stateless; with it the earlier conversation comes from memory (recall.h), where answers go unless
 * "store" is false. Source: OpenAI's API reference, "Responses" and "Streaming events". */
#ifndef CORRAL_API_RESPONSES_H
#define CORRAL_API_RESPONSES_H

#include "api/openai.h"

/* Items of "input" (a string or an array) as messages, appended to out. */
bool responses_messages(struct parse *p, const json_t *input, json_t *out);
/* Tools in Responses' flat shape as chat's. NULL and p->f filled: something is wrong with them. */
json_t *responses_tools(struct parse *p, const json_t *tools);

struct responses_extra { /* request.extra */
    json_t *history; /* what is kept besides the answer: messages without the instructions */
    json_t *input;   /* of this request, as messages */
    bool store;
};
extern const struct renderer responses_renderer;

#endif
