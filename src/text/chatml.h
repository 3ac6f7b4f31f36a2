/* A conversation as ChatML: <|im_start|>role\ncontent<|im_end|>\n ... <|im_start|>assistant\n
 * Source: OpenAI, "Chat Markup Language" (2023), as Qwen, SmolLM and many others were trained on it.
 *
 * Only the two markers are looked up as special tokens. Role and content are tokenized as plain text, so a
 * user who writes <|im_end|> writes those ten characters and does not end the turn. Where the vocabulary
 * lacks the markers they are plain text too, and the model sees the same bytes. */
#ifndef CORRAL_TEXT_CHATML_H
#define CORRAL_TEXT_CHATML_H

#include "text/tokenizer.h"

struct chat_message {
    const char *role, *content; /* UTF-8 */
    size_t n_role, n_content;
};

/* Append the ids of the conversation, a beginning-of-text token first where the model wants one. answer: end
 * with the head of the assistant's turn. */
status chatml_encode(const struct tokenizer *t, const struct chat_message *m, size_t n, bool answer,
                     struct tok_ids *ids, struct error *e);
/* The same as text. */
void chatml_render(const struct chat_message *m, size_t n, bool answer, struct buf *out);

#endif
