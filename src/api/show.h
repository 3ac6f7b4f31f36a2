/* A model as lists and descriptions say it: what it can do, Ollama's details and its body of /api/show, and
 * the facts in short that the gateway keeps. Of the file and its template only, so that who looks at a file
 * (`corral inspect`) and who serves it say the same. */
#ifndef CORRAL_API_SHOW_H
#define CORRAL_API_SHOW_H

#include "api/facts.h"
#include "chat/chat.h"
#include "text/tokenizer.h"

struct model_show {
    const struct model_facts *facts;
    const struct chat_format *chat; /* NULL: its template cannot be read */
    const struct tokenizer *tok;    /* NULL: its tokens cannot be read */
};
void show_capabilities(const struct model_show *m, struct buf *out);   /* ["completion","tools",..] */
void show_details(const struct model_facts *f, struct buf *out);       /* {"format":"gguf","family":..} */
/* The whole answer of /api/show. all: arrays of the metadata too, and the tensors. */
void show_body(const struct model_show *m, const char *name, bool all, struct buf *out);
/* Of a file that nobody serves: "facts":{..},"show":{..}. What cannot be read of it is left out. */
void show_file(const struct gguf *g, bool all, struct buf *out);

#endif
