/* Anthropic's Messages API. Conversations and tools become OpenAI's, which the rest of src/api understands.
 * Source: Anthropic's API reference, "Messages" and "Streaming messages". */
#ifndef CORRAL_API_ANTHROPIC_H
#define CORRAL_API_ANTHROPIC_H

#include "api/fields.h"
#include "api/generation.h"

/* system (may be NULL) and messages of a body as OpenAI's messages. NULL: f says what is wrong. */
json_t *anthropic_messages(const json_t *system, const json_t *messages, struct fault *f);
json_t *anthropic_tools(const json_t *tools, struct fault *f);

extern const struct renderer anthropic_renderer;

#endif
