/* OpenAI's API under /v1: chat/completions, completions, models, embeddings, responses. Source: OpenAI's
 * API reference; what llama.cpp's server and vLLM add to it is in shared/design/API_SURFACE.md. */
#ifndef CORRAL_API_OPENAI_H
#define CORRAL_API_OPENAI_H

#include "api/generation.h"

extern const struct renderer openai_chat, openai_completion;
void openai_usage(struct buf *out, const struct generation *g); /* {"prompt_tokens":...} */
/* Of the tokens not written yet: [{"token":...},...] */
void openai_logprobs(struct buf *out, struct choice *c);

/* For task_run: {"input_tokens":...} of a conversation. */
bool openai_count_tokens(const struct api *api, struct request *r, struct buf *out, struct fault *f);

extern const struct field_table openai_chat_fields;
/* What chat fields say together: tool_choice against tools, ... */
bool openai_chat_check(struct request *r, const struct api *api, struct fault *f);
/* "auto", "none", "required" or an object that names a function, in chat's shape or Responses'. */
bool openai_set_tool_choice(struct parse *p, const char *name, const json_t *v);
bool openai_set_effort(struct parse *p, const char *name, const json_t *v); /* none, minimal, low, ... */

#endif
