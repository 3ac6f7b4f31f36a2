/* Answers of models whose calls nothing announces: an answer that begins like a call is one. */
#ifndef CORRAL_API_CONSTRAINT_BARE_H
#define CORRAL_API_CONSTRAINT_BARE_H

#include "base/buf.h"
#include "chat/chat.h"

/* A grammar (GBNF) of all texts that do not begin as w writes a call of one of these functions, with
 * whatever blanks between. */
void bare_text_grammar(struct buf *out, const struct chat_wire *w, const char *const *name, size_t n_name);

#endif
