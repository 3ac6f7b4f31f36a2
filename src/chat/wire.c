/* How models write calls and reasoning: one row per format. Parser and grammar both work from these rows. */
#include "chat/chat_int.h"

// clang-format off
static const struct chat_wire wires[] = {
    {.name = "hermes", .trigger = "<tool_call>", .begin = "", .end = "",
     .head = "<tool_call>\n{\"name\": \"{name}\", \"arguments\": ", .tail = "}\n</tool_call>", .between = "\n",
     .args = CHAT_ARGS_JSON, .param_head = "", .param_tail = "", .between_params = "", .quote = "", .parallel = true},
    {.name = "none", .trigger = "", .begin = "", .end = "", .head = "", .tail = "", .between = "",
     .param_head = "", .param_tail = "", .between_params = "", .quote = ""},
};

static const struct chat_tags tag_list[] = {
    {"<think>", "</think>", "</think>"},
    {"<think>", "</think>", ""}, /* a template that says nothing: what most models write */
};
// clang-format on

const struct chat_wire *chat_wire_at(size_t i)
{
    return i < COUNT_OF(wires) ? &wires[i] : NULL;
}

const struct chat_wire *chat_wire_find(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(wires); i++)
        if (!strcmp(wires[i].name, name)) return &wires[i];
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
