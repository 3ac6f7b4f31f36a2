/* How conversations are written for a model, where its file says nothing, or the wrong thing: options. */
#ifndef CORRAL_CLI_CHAT_FORMAT_H
#define CORRAL_CLI_CHAT_FORMAT_H

#include "chat/chat.h"
#include "cli/opt.h"
#include "cli/session.h"

struct chat_format_options { const char *text, *wire; };

/* o: a struct chat_format_options with static storage. */
#define CHAT_FORMAT_OPTS(o)                                                                        \
    {.name = "chat-template", .type = OPT_STR, .at = &(o).text, .arg = "FILE",                     \
     .help = "Jinja template of conversations instead of the model's own; 'chatml' for that one"}, \
    {.name = "chat-format", .type = OPT_STR, .at = &(o).wire, .arg = "NAME",                       \
     .help = "how the model writes tool calls, where its template does not tell: hermes, mistral, ..."}

/* The format of s, by the options. */
status chat_format_open(struct chat_format **out, const struct chat_format_options *o,
                        const struct session *s, struct error *e);

#endif
