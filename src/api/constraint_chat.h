/* What an answer in a conversation may be: reasoning first, then content, or calls of tools in the way that
 * the model writes them (struct chat_wire). One structural tag of src/grammar, put together from what the
 * request asks for. Any thread. */
#ifndef CORRAL_API_CONSTRAINT_CHAT_H
#define CORRAL_API_CONSTRAINT_CHAT_H

#include "api/constraint.h"
#include "chat/chat.h"

enum answer_calls {
    ANSWER_NO_CALLS, /* tool_choice "none", or no tools */
    ANSWER_MAY_CALL, /* "auto": free until the trigger of a call, constrained from there on */
    ANSWER_MUST_CALL /* "required", or a tool that was named */
};
struct answer_shape {
    const struct chat_caps *caps;
    const struct json_t *tools; /* [{"type": "function", "function": {"name",
                                 * "parameters", "strict"}}], or NULL */
    enum answer_calls calls;
    const char *only;           /* MUST_CALL: this function; NULL: any */
    bool parallel;              /* several calls in one answer */
    bool think_open;            /* from chat_encode: the answer begins within reasoning */
    enum chat_think think;      /* OFF: unless it does so, there is none */
};
/* s, which may hold a constraint on the content already, becomes that of the whole answer; it stays as it is
 * where there is nothing to add. Arguments are held to their schemas exactly where a tool says "strict":
 * true; else what cannot be enforced is left out.
 * Calls that nothing announces (a wire without trigger) stand at the beginning of an answer.
 * ERR_ARG: tools are not what they should be. ERR_UNSUPPORTED: this model's calls cannot be constrained. */
status constraint_for_answer(struct constraint_spec *s, const struct answer_shape *a, struct error *e);

#endif
