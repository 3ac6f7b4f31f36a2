/* corral run: what its two faces, one answer and a conversation, share. */
#ifndef CORRAL_CLI_RUN_H
#define CORRAL_CLI_RUN_H

#include "chat/chat.h"
#include "cli/answer.h"
#include "cli/sampling.h"
#include "cli/session.h"

struct run_options {
    struct session_options model;
    struct sampling_options sampling;
    const char *prompt, *system, *file;
    int64_t max_tokens;
    struct opt_list stop;
    bool chat, raw, json, stats, special;
    const char *thinking; /* on, off, auto */
};

/* A conversation at the terminal until /exit or the end of input. chat: the model is made for it; else every
 * line is a text to continue. settings: the rows that /set may change. */
status run_interactive(struct session *s, struct run_options *o, const struct opt *settings, bool chat,
                       struct error *e);

/* A conversation's next answer: begin makes the prompt, answer fills content and reasoning; then reset. */
struct run_chat {
    struct chat_format *format; /* owned */
    void (*show)(const char *text, size_t n, bool reasoning); /* as it comes; may be NULL */
    struct chat_parser *parser;
    struct buf content, reasoning;
};
status run_chat_begin(struct run_chat *c, const struct session *s, const json_t *messages,
                      struct tok_ids *ids, struct error *e);
status run_chat_answer(struct run_chat *c, struct session *s, struct answer *g, struct error *e);
void run_chat_reset(struct run_chat *c);
void run_chat_deinit(struct run_chat *c);
json_t *run_message(const char *role, const char *text, size_t n); /* NULL: not UTF-8 */

/* One line on stderr: counts and speed. */
void run_print_stats(const struct engine_timing *t, enum finish_reason finish);

#endif
