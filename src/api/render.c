#include "api/render.h"

#include <string.h>

void render_arguments(const struct tool_call *call, struct buf *out)
{
    json_t *v = call->args.n ? json_loadb(call->args.data, call->args.n, 0, NULL) : NULL;
    if (json_is_object(v))
        buf_add(out, call->args.data, call->args.n);
    else
        buf_adds(out, "{}");
    json_decref(v);
}

void render_str(struct buf *out, const char *s)
{
    buf_json_str(out, s, strlen(s));
}
