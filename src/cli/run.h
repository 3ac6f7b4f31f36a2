/* corral run: what its two faces, one answer and a conversation, share. */
#ifndef CORRAL_CLI_RUN_H
#define CORRAL_CLI_RUN_H

#include "cli/sampling.h"
#include "cli/session.h"

struct run_options {
    struct session_options model;
    struct sampling_options sampling;
    const char *prompt, *system, *file;
    int64_t max_tokens;
    struct opt_list stop;
    bool chat, raw, json, stats, special;
};

/* A conversation at the terminal until /exit or the end of input. chat: the model is made for it; else every
 * line is a text to continue. settings: the rows that /set may change. */
status run_interactive(struct session *s, struct run_options *o, const struct opt *settings, bool chat,
                       struct error *e);

/* One line on stderr: counts and speed. */
void run_print_stats(const struct engine_timing *t, enum finish_reason finish);

#endif
