/* One generation, waited for: submits to the engine and hands text to the caller as it becomes certain.
 *
 * One at a time in a process (answer_interrupt, for a signal handler, has only one to mean). */
#ifndef CORRAL_CLI_ANSWER_H
#define CORRAL_CLI_ANSWER_H

#include "base/buf.h"
#include "cli/session.h"

struct answer {
    const int32_t *prompt;
    uint32_t n_prompt, max_tokens; /* max_tokens 0: until the context is full */
    const struct sample_params *params;
    const char *const *stop;
    size_t n_stop;
    bool special;                  /* write control tokens out too */
    void (*on_text)(void *user, const char *text, size_t n); /* called by the caller's thread; may be NULL */
    void *user;

    /* Filled in: */
    struct buf text;               /* all of it; buf_deinit it */
    enum finish_reason finish;
    struct engine_timing timing;
};

status answer_generate(struct session *s, struct answer *g, struct error *e);
/* Make the generation that runs, or else the next one, end with FINISH_CANCELLED. Async-signal-safe. */
void answer_interrupt(void);
/* What was interrupted until now does not concern the next generation. */
void answer_forget_interrupt(void);

#endif
