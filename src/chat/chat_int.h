/* The inside of conversations. Private to src/chat. */
#ifndef CORRAL_CHAT_INT_H
#define CORRAL_CHAT_INT_H

#include <string.h>

#include "chat/chat.h"
#include "text/jinja/jinja.h"

struct chat_tags;

struct chat_template {
    struct jinja *tree;
    char *text;
    size_t n;
};

/* Characters: ASCII, and all others as the last. */
struct chat_chars {
    bool has[129];
};

struct chat_format {
    const struct tokenizer *tok; /* may be NULL */
    struct chat_template plain, with_tools; /* with_tools.tree NULL: plain serves both */
    struct chat_caps caps;
    const struct chat_tags *tags; /* of reasoning and content */
    char *bos, *eos;
    bool tools_undefined; /* instead of None, where there are none */
    bool developer_role; /* the template knows it */
    struct chat_chars first, last; /* what control tokens begin and end with */
};

/* Which of the two templates is for a conversation with these tools. */
const struct chat_template *chat_template_for(const struct chat_format *f, const json_t *tools);

/* prepare.c: the template's variables for a conversation, with what the template cannot do worked around.
 * *out is a new object; nothing of in is changed. */
status chat_prepare(const struct chat_format *f, const struct chat_input *in, json_t **out, struct error *e);

void chat_set_tools(const struct chat_format *f, json_t *vars, const json_t *tools, const struct tm *now);
/* Give the tools among the variables all that a template may look for in them, such as empty descriptions. */
void chat_complete_tools(json_t *vars);
/* The text of content: a string, a list of text parts, or null. at: which message, for errors. */
status chat_content_text(struct buf *out, const json_t *content, size_t at, struct error *e);

/* probe.c: fill f->caps by rendering. */
void chat_probe_caps(struct chat_format *f);

/* A conversation with one call in it, as the template renders it from the call on; "" when it cannot. */
struct chat_probe {
    const char *text, *name, *key, *value;
};

/* detect.c */
const struct chat_wire *chat_wire_detect(const struct chat_format *f, const struct chat_probe *call);

/* encode.c */
void chat_find_edges(struct chat_format *f);

#endif
