/* How models write calls and reasoning: one row per format. Parser and grammar both work from these rows. */
#include "chat/wire.h"

#include "chat/chat_int.h"

/* Between JSON's, Python's or Gemma's brackets. */
#define CALLS(name_, args_, trigger_, begin_, head_, tail_, between_, end_)                                  \
    {                                                                                                        \
        .name = name_, .trigger = trigger_, .begin = begin_, .end = end_, .head = head_, .tail = tail_,      \
        .between = between_, .args = CHAT_ARGS_##args_, .param_head = "", .param_tail = "",                  \
        .between_params = "", .quote = "", .parallel = true                                                  \
    }
#define ONE_CALL(name_, args_, trigger_, head_, tail_)                                                       \
    {                                                                                                        \
        .name = name_, .trigger = trigger_, .begin = "", .end = "", .head = head_, .tail = tail_,            \
        .between = "", .args = CHAT_ARGS_##args_, .param_head = "", .param_tail = "", .between_params = "",  \
        .quote = "", .parallel = false                                                                       \
    }
#define GEMMA(name_, trigger_, head_, tail_, quote_)                                                         \
    {                                                                                                        \
        .name = name_, .trigger = trigger_, .begin = "", .end = "", .head = head_, .tail = tail_,            \
        .between = "", .args = CHAT_ARGS_GEMMA, .param_head = "", .param_tail = "", .between_params = "",    \
        .quote = quote_, .parallel = true                                                                    \
    }
/* With a tag for each parameter. */
#define TAGGED(name_, trigger_, begin_, head_, param_head_, param_tail_, between_params_, tail_, between_,   \
               end_)                                                                                         \
    {                                                                                                        \
        .name = name_, .trigger = trigger_, .begin = begin_, .end = end_, .head = head_, .tail = tail_,      \
        .between = between_, .args = CHAT_ARGS_TAGGED, .param_head = param_head_, .param_tail = param_tail_, \
        .between_params = between_params_, .quote = "", .parallel = true                                     \
    }

/* The order is that of detection: what could be taken for a row above stands below it. */
// clang-format off
static const struct wire_row rows[] = {
    /* GPT-OSS. The head may be written in other ways: parse_harmony.c. */
    {ONE_CALL("harmony", JSON, "<|channel|>commentary to=functions.",
              "<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>", "<|call|>"),
     .kind = WIRE_HARMONY, .sign = {"<|channel|>", "<|message|>", "<|call|>"}},
    {TAGGED("muse", "<atem:function_calls>", "<atem:function_calls>\n", "<atem:invoke name=\"{name}\">\n",
            "<atem:parameter name=\"{key}\">", "</atem:parameter>\n", "", "</atem:invoke>\n", "", "</atem:function_calls>"),
     .sign = {"<atem:function_calls>", "<|eom|>"}, .drop = {"<|start|>assistant", "to={name}<|message|>", "<|eom|>"}},
    {CALLS("functionary-v3.2", JSON, ">>>", "", ">>>{name}\n", "", "", ""),
     .sign = {">>>all", ">>>${recipient}"}, .drop = {">>>all\n"}, .lead = ">>>"},
    {CALLS("kimi-k2", JSON, "<|tool_calls_section_begin|>", "<|tool_calls_section_begin|>",
           "<|tool_call_begin|>functions.{name}:{index}<|tool_call_argument_begin|>", "<|tool_call_end|>", "",
           "<|tool_calls_section_end|>"),
     .sign = {"<|tool_calls_section_begin|>", "<|tool_call_begin|>"}, .id = "functions.{name}:{index}"},
    {TAGGED("kimi-k3", "<|open|>tools<|sep|>", "<|open|>tools<|sep|>", "<|open|>call tool=\"{name}\" index=\"{index}\"<|sep|>",
            "<|open|>argument key=\"{key}\" type=\"{type}\"<|sep|>", "<|close|>argument<|sep|>", "",
            "<|close|>call<|sep|>", "", "<|close|>tools<|sep|>"),
     .sign = {"<|open|>", "<|close|>", "<|end_of_msg|>"},
     .drop = {"<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>", "<|end_of_msg|>"}},
    {CALLS("solar", JSON, "<|tool_calls|>", "<|tool_calls|>",
           "<|tool_call:begin|>{id}<|tool_call:name|>{name}<|tool_call:args|>", "<|tool_call:end|>", "", "<|calls|>"),
     .sign = {"<|tool_calls|>", "<|tool_call:args|>"}, .drop = {"<|begin|>assistant", "<|content|>", "<|end|>"}},
    {TAGGED("dsml", "<｜DSML｜function_calls>", "<｜DSML｜function_calls>\n", "<｜DSML｜invoke name=\"{name}\">\n",
            "<｜DSML｜parameter name=\"{key}\" string=\"{string}\">", "</｜DSML｜parameter>\n", "", "</｜DSML｜invoke>\n", "",
            "</｜DSML｜function_calls>"),
     .sign = {"DSML", "function_calls"}},
    {TAGGED("dsml-v4", "<｜DSML｜tool_calls>", "<｜DSML｜tool_calls>\n", "<｜DSML｜invoke name=\"{name}\">\n",
            "<｜DSML｜parameter name=\"{key}\" string=\"{string}\">", "</｜DSML｜parameter>\n", "", "</｜DSML｜invoke>\n", "",
            "</｜DSML｜tool_calls>"),
     .sign = {"DSML", "tool_calls"}},
    {CALLS("deepseek-r1", JSON, "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>",
           "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n", "\n```<｜tool▁call▁end｜>", "\n", "<｜tool▁calls▁end｜>"),
     .sign = {"<｜tool▁calls▁begin｜>", "```json"}},
    {CALLS("deepseek-v3.1", JSON, "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁begin｜>",
           "<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "", "<｜tool▁calls▁end｜>"),
     .sign = {"<｜tool▁calls▁begin｜>"}},
    {GEMMA("gemma4", "<|tool_call>", "<|tool_call>call:{name}", "<tool_call|>", "<|\"|>"), .sign = {"<|tool_call>call:"}},
    {GEMMA("functiongemma", "<start_function_call>", "<start_function_call>call:{name}", "<end_function_call>", "<escape>"),
     .sign = {"<start_function_call>"}},
    {CALLS("mistral", JSON, "[TOOL_CALLS]", "", "[TOOL_CALLS]{name}[ARGS]", "", "", ""),
     .sign = {"[TOOL_CALLS]"}, .id = "{9}"},
    {CALLS("mistral-small", JSON, "[TOOL_CALLS]", "", "[TOOL_CALLS]{name}[CALL_ID]{id}[ARGS]", "", "", ""),
     .sign = {"[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"}, .id = "{9}", .also = "mistral"},
    {CALLS("mistral-nemo", JSON, "[TOOL_CALLS]", "[TOOL_CALLS][", "{\"name\": \"{name}\", \"arguments\": ", "}", ", ", "]"),
     .kind = WIRE_OBJECT, .sign = {"[TOOL_CALLS]["}, .id = "{9}", .also = "mistral"},
    {CALLS("command-r7b", JSON, "<|START_ACTION|>", "<|START_ACTION|>[\n    ",
           "{\"tool_name\": \"{name}\", \"parameters\": ", "}", ",\n    ", "\n]<|END_ACTION|>"),
     .kind = WIRE_OBJECT, .sign = {"<|START_ACTION|>"},
     .drop = {"<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"}},
    {CALLS("command-r", JSON, "Action:\n```json", "Action:\n```json\n[\n    ", "{\"tool_name\": \"{name}\", \"parameters\": ",
           "}", ",\n    ", "\n]```"),
     .kind = WIRE_OBJECT, .sign = {"Action:", "```json", "directly-answer"}},
    {CALLS("nemotron-v2", JSON, "<TOOLCALL>", "<TOOLCALL>[", "{\"name\": \"{name}\", \"arguments\": ", "}", ", ", "]</TOOLCALL>"),
     .kind = WIRE_OBJECT, .sign = {"<TOOLCALL>"}},
    {CALLS("apriel", JSON, "<tool_calls>", "<tool_calls>[", "{\"name\": \"{name}\", \"arguments\": ", "}", ", ", "]</tool_calls>"),
     .kind = WIRE_OBJECT, .sign = {"<tool_calls>["}, .drop = {"[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"}},
    {CALLS("minimax-m1", JSON, "<tool_calls>", "<tool_calls>\n", "{\"name\": \"{name}\", \"arguments\": ", "}", "\n", "\n</tool_calls>"),
     .kind = WIRE_OBJECT, .sign = {"<tool_calls>"}},
    {TAGGED("minimax-m2", "<minimax:tool_call>", "<minimax:tool_call>\n", "<invoke name=\"{name}\">\n",
            "<parameter name=\"{key}\">", "</parameter>\n", "", "</invoke>\n", "", "</minimax:tool_call>"),
     .sign = {"<minimax:tool_call>"}},
    {TAGGED("minimax-m3", "]<]minimax[>[<tool_call>", "]<]minimax[>[<tool_call>\n", "]<]minimax[>[<invoke name=\"{name}\">",
            "]<]minimax[>[<{key}>", "]<]minimax[>[</{key}>", "", "]<]minimax[>[</invoke>\n", "", "]<]minimax[>[</tool_call>"),
     .sign = {"]<]minimax[>["}},
    {CALLS("apertus", JSON, "<|tools_prefix|>", "<|tools_prefix|>[", "{\"{name}\": ", "}", ", ", "]<|tools_suffix|>"),
     .sign = {"<|tools_prefix|>"}},
    {CALLS("gigachat3", JSON, "<|message_sep|>\n\nfunction call<|role_sep|>", "",
           "<|message_sep|>\n\nfunction call<|role_sep|>\n{\"name\": \"{name}\", \"arguments\": ", "}", "", ""),
     .kind = WIRE_OBJECT, .sign = {"<|message_sep|>", "function call<|role_sep|>"}},
    {CALLS("gigachat3.1", JSON, "<|function_call|>", "", "<|function_call|>{\"name\": \"{name}\", \"arguments\": ", "}", "", ""),
     .kind = WIRE_OBJECT, .sign = {"<|function_call|>"}},
    {CALLS("granite3", JSON, "<|tool_call|>", "<|tool_call|>[", "{\"name\": \"{name}\", \"arguments\": ", "}", ", ", "]"),
     .kind = WIRE_OBJECT, .sign = {"<|tool_call|>"}, .drop = {"<|/tool_call|>", "<response>", "</response>"}},
    {CALLS("firefunction", JSON, "functools[", "functools[", "{\"name\": \"{name}\", \"arguments\": ", "}", ", ", "]"),
     .kind = WIRE_OBJECT, .sign = {"functools["}},
    {TAGGED("hunyuan", "<tool_calls:opensource>", "<tool_calls:opensource>\n", "<tool_call:opensource>{name}<tool_sep:opensource>\n",
            "<arg_key:opensource>{key}</arg_key:opensource>\n<arg_value:opensource>", "</arg_value:opensource>\n", "",
            "</tool_call:opensource>\n", "", "</tool_calls:opensource>"),
     .sign = {"<tool_sep:opensource>"}},
    {CALLS("lfm2", PYTHON, "<|tool_call_start|>", "<|tool_call_start|>[", "{name}(", ")", ", ", "]<|tool_call_end|>"),
     .sign = {"List of tools: "}},
    {CALLS("olmo3", PYTHON, "<function_calls>", "<function_calls>\n", "{name}(", ")", "\n", "\n</function_calls>"),
     .sign = {"<function_calls>"}},
    {TAGGED("seed", "<seed:tool_call>", "", "<seed:tool_call>\n<function={name}>\n", "<parameter={key}>", "</parameter>\n", "",
            "</function>\n</seed:tool_call>", "\n", ""),
     .sign = {"<seed:tool_call>"}},
    {TAGGED("qwen3-coder", "<tool_call>", "", "<tool_call>\n<function={name}>\n", "<parameter={key}>\n", "\n</parameter>\n", "",
            "</function>\n</tool_call>", "\n", ""),
     .sign = {"<tool_call>", "<function=", "<parameter="}, .alt = "<function="},
    {TAGGED("minicpm5", "<function name=\"", "", "<function name=\"{name}\">", "<param name=\"{key}\">", "</param>", "",
            "</function>", "", ""),
     .sign = {"<function name=\"", "<param name=\""}},
    {CALLS("functionary-v3.1", JSON, "<function=", "", "<function={name}>", "</function>", "", ""),
     .sign = {"<function="}},
    {TAGGED("glm", "<tool_call>", "", "<tool_call>{name}\n", "<arg_key>{key}</arg_key>\n<arg_value>", "</arg_value>\n", "",
            "</tool_call>", "\n", ""),
     .sign = {"<tool_call>", "<arg_key>"}},
    {CALLS("hermes", JSON, "<tool_call>", "", "<tool_call>\n{\"name\": \"{name}\", \"arguments\": ", "}\n</tool_call>", "\n", ""),
     .kind = WIRE_OBJECT, .sign = {"<tool_call>"}},
    {CALLS("llama3", JSON, "", "", "{\"name\": \"{name}\", \"parameters\": ", "}", "; ", ""),
     .kind = WIRE_OBJECT, .sign = {"\"parameters\""}, .bare = '{', .also = "llama3-builtin", .drop = {"<|python_tag|>"}},
    {CALLS("pythonic", PYTHON, "", "[", "{name}(", ")", ", ", "]"),
     .sign = {"func_name1("}, .bare = '['},
    {CALLS("llama3-builtin", PYTHON, "<|python_tag|>{name}.call(", "", "<|python_tag|>{name}.call(", ")", "", ""),
     .sign = {"<|python_tag|>"}},
    {CALLS("none", JSON, "", "", "", "", "", ""), .kind = WIRE_CALLS},
};

#define TAGS(begin_, end_, sign_) {.begin = begin_, .end = end_, .sign = sign_}
static const struct chat_tags tag_list[] = {
    {"<|channel|>analysis<|message|>", "<|end|>", "<|channel|>analysis", "<|start|>assistant", "<|channel|>final<|message|>"},
    {"to=self<|message|>", "<|eom|>", "to=self<|message|>", "<|start|>assistant", " to=user<|message|>"},
    {"<|open|>think<|sep|>", "<|close|>think<|sep|>", "<|open|>", NULL, "<|open|>response<|sep|>"},
    TAGS("<|channel>thought", "<channel|>", "<channel|>"),
    {"<|think|>", "<|end|>", "<|think|>", "<|begin|>assistant", "<|content|>"},
    TAGS("<|START_THINKING|>", "<|END_THINKING|>", "<|START_THINKING|>"),
    TAGS("<|inner_prefix|>", "<|inner_suffix|>", "<|inner_prefix|>"),
    TAGS("[THINK]", "[/THINK]", "[THINK]"),
    TAGS("<seed:think>", "</seed:think>", "<seed:think>"),
    TAGS("<mm:think>", "</mm:think>", "<mm:think>"),
    TAGS("<think:opensource>", "</think:opensource>", "</think{}>"),
    TAGS("Here are my reasoning steps:", "[BEGIN FINAL RESPONSE]", "[BEGIN FINAL RESPONSE]"),
    TAGS("<think>", "</think>", "</think>"),
    TAGS("<think>", "</think>", ""), /* a template that says nothing: what most models write */
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

const struct chat_tags *chat_tags_detect(const char *template_text)
{
    size_t i = 0;
    while (tag_list[i].sign[0] && !strstr(template_text, tag_list[i].sign)) i++;
    return &tag_list[i];
}
