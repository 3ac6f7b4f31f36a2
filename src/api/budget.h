/* A limit on reasoning: after so many tokens of it, the tag that ends it is all that may come. Goes around
 * the request's own constraint, if it has one.
 *
 * A struct budget is immutable and counted; the positions that the engine makes of it hold references of
 * their own. */
#ifndef CORRAL_API_BUDGET_H
#define CORRAL_API_BUDGET_H

#include "chat/chat.h"
#include "engine/engine.h"

struct budget;
struct budget_options {
    const struct tokenizer *tok;    /* borrowed, as the rest: all of it outlives the engine */
    const struct chat_caps *caps;   /* whose reasoning tags are not empty */
    uint32_t n_token;
    bool think_open;                /* the answer begins within reasoning */
    /* Copied; NULL: anything else goes. Its state must live until the clones are made. */
    const struct engine_constraint *inner;
};
status budget_new(struct budget **out, const struct budget_options *o, struct error *e);
void budget_unref(struct budget *b); /* NULL is fine */
struct engine_constraint budget_engine(const struct budget *b);

#endif
