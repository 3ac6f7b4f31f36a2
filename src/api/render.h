/* What renderers of several families write alike. */
#ifndef CORRAL_API_RENDER_H
#define CORRAL_API_RENDER_H

#include "api/generation.h"

/* A call's arguments as a JSON object; {} where the answer broke off within them. */
void render_arguments(const struct tool_call *call, struct buf *out);
void render_str(struct buf *out, const char *s);

#endif
