/* How models write calls and reasoning: one row per format. Parser and grammar both work from these rows. */
#include "chat/wire.h"

#include "chat/chat_int.h"

#define NO_PARAMS .param_head = "", .param_tail = "", .between_params = "", .quote = ""

// clang-format off
static const struct wire_row rows[] = {
    {{.name = "hermes", .trigger = "<tool_call>", .begin = "", .end = "",
      .head = "<tool_call>\n{\"name\": \"{name}\", \"arguments\": ", .tail = "}\n</tool_call>", .between = "\n",
      .args = CHAT_ARGS_JSON, NO_PARAMS, .parallel = true}, .kind = WIRE_OBJECT},
    {{.name = "none", .trigger = "", .begin = "", .end = "", .head = "", .tail = "", .between = "", NO_PARAMS},
     .kind = WIRE_CALLS},
};

static const struct chat_tags tag_list[] = {
    {"<think>", "</think>", "</think>"},
    {"<think>", "</think>", ""}, /* a template that says nothing: what most models write */
};
// clang-format on

const struct wire_row *wire_row(const struct chat_wire *w)
{
    return (const struct wire_row *)w;
}

const struct chat_wire *chat_wire_at(size_t i)
{
    return i < COUNT_OF(rows) ? &rows[i].w : NULL;
}

const struct chat_wire *chat_wire_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (!strcmp(rows[i].w.name, name)) return &rows[i].w;
    return NULL;
}

const char *chat_drop_at(const struct chat_wire *w, size_t i)
{
    return NULL;
}

const struct chat_wire *chat_wire_detect(const struct chat_format *f, const char *call_rendered)
{
    return chat_wire_find("hermes");
}

const struct chat_tags *chat_tags_detect(const char *template_text)
{
    size_t i = 0;
    while (tag_list[i].sign[0] && !strstr(template_text, tag_list[i].sign)) i++;
    return &tag_list[i];
}
