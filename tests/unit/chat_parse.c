/* Answers in every format: text to events, the same however the text is cut. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chat/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

enum { OPEN = 1, NO_TOOLS = 2, NO_REASONING = 4 };

struct parse_case {
    const char *wire;
    const char *text;
    const char *want; /* R{reasoning} C{content} F{name args} and F{name args for a call that has no end */
    int options;
};

static const char tools[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"type\": \"object\", "
    "\"properties\": {"
    "\"s\": {\"type\": \"string\"}, \"n\": {\"type\": \"integer\"}, \"o\": {\"type\": \"object\"}, "
    "\"x\": {\"anyOf\": [{\"type\": \"string\"}, {\"type\": \"null\"}]}}}}}, "
    "{\"type\": \"function\", \"function\": {\"name\": \"get_weather\", \"parameters\": {\"type\": "
    "\"object\", "
    "\"properties\": {\"city\": {\"type\": \"string\"}}}}}, "
    "{\"type\": \"function\", \"function\": {\"name\": \"none\"}}]";

// clang-format off
static const struct parse_case cases[] = {
    /* content and reasoning */
    {"hermes", "Hello.", "C{Hello.}", 0},
    {"hermes", " \n Hello. \n", "C{ \n Hello. \n}", 0},
    {"hermes", "\n", "C{\n}", 0},
    {"hermes", "", "", 0},
    {"hermes", "<think>\nhm\n</think>\n\nHi\n", "R{hm}C{Hi\n}", 0},
    {"hermes", "\n<think>hm", "R{hm}", 0},
    {"hermes", "hm\n</think>\n\nHi", "R{hm}C{Hi}", OPEN},
    {"hermes", "\n</think>\n\nHi", "C{Hi}", OPEN},
    {"hermes", "never closed ", "R{never closed}", OPEN},
    {"hermes", "</think>Hi", "C{Hi}", 0},
    {"hermes", "Tags are <think> and </think>.", "C{Tags are <think> and </think>.}", 0},
    {"hermes", "<think>a</think>b", "C{<think>a</think>b}", NO_REASONING},
    {"hermes", "<thin", "C{<thin}", 0},
    {"hermes", "<think>1 < 2 </thin</think>x", "R{1 < 2 </thin}C{x}", 0},
    {"hermes", "<think>a</think><tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", "R{a}F{f {}}", 0},
    /* Hermes */
    {"hermes", "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"s\": \"a\", \"n\": 1}}\n</tool_call>",
     "F{f {\"s\": \"a\", \"n\": 1}}", 0},
    {"hermes", "Let me see.\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n\n<tool_call>\n{\"name\":\"g\",\"arguments\":{\"a\":[1,{}]}}\n</tool_call>\nDone.",
     "C{Let me see.}F{f {}}F{g {\"a\":[1,{}]}}C{Done.}", 0},
    {"hermes", "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call>", "F{f {\"a\": 1}}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\"}</tool_call>", "F{f {}}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", "F{f {}}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", "F{f {\"a\": 1}}", 0},
    {"hermes", "<tool_call>{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"a\": 1}}}</tool_call>", "F{f {\"a\": 1}}", 0},
    {"hermes", "<tool_call>{\"id\": 7, \"name\": \"f\", \"x\": [{\"name\": \"}\"}], \"arguments\": {\"a\": \"}\"}}</tool_call>!", "F{f {\"a\": \"}\"}}C{!}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"line\nline\\d \\\"q\\\" \\u00e9\", \"b\": True, \"c\": [1,],}}</tool_call>",
     "F{f {\"a\": \"line\\nline\\\\d \\\"q\\\" \\u00e9\", \"b\": true, \"c\": [1]}}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {}} forgot", "F{f {}}C{forgot}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}", "F{f {\"a\": 1}}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool", "F{f {\"a\": 1}}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"x", "F{f {\"a\": \"x", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": }} x", "F{f {\"a\": C{}} x}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\"", "C{<tool_call>{\"name\": \"f\"}", 0},
    {"hermes", "Use <tool_call> tags.", "C{Use <tool_call> tags.}", 0},
    {"hermes", "a <tool_call>nothing</tool_call> <tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
     "C{a <tool_call>nothing</tool_call>}F{f {}}", 0},
    {"hermes", "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", "C{<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>}", NO_TOOLS},
    {"hermes", "<tool_call>{\"name\": 1, \"arguments\": {}}</tool_call>", "C{<tool_call>{\"name\": 1, \"arguments\": {}}</tool_call>}", 0},
    {"hermes", "<tool_call>[1]</tool_call>", "C{<tool_call>[1]</tool_call>}", 0},
    /* the other formats of JSON objects */
    {"llama3", "{\"name\": \"f\", \"parameters\": {\"n\": 1}}", "F{f {\"n\": 1}}", 0},
    {"llama3", "<|python_tag|>{\"name\": \"f\", \"parameters\": {\"n\": 1}}", "F{f {\"n\": 1}}", 0},
    {"llama3", "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"get_weather\", \"parameters\": {\"city\": \"P\"}}", "F{f {}}F{get_weather {\"city\": \"P\"}}", 0},
    {"llama3", " {\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}", "F{f {}}", 0},
    {"llama3", "{\"name\": \"Ann\", \"age\": 3}", "C{{\"name\": \"Ann\", \"age\": 3}}", 0},
    {"llama3", "{\"name\": \"Ann\", \"parameters\": {}}", "C{{\"name\": \"Ann\", \"parameters\": {}}}", 0},
    {"llama3", "{\"answer\": {\"name\": \"f\"}}\n", "C{{\"answer\": {\"name\": \"f\"}}\n}", 0},
    {"llama3", "So {\"name\": \"f\", \"parameters\": {}}", "C{So {\"name\": \"f\", \"parameters\": {}}}", 0},
    {"llama3", "<|python_tag|>brave_search.call(query=\"x y\")", "F{brave_search {\"query\": \"x y\"}}", 0},
    {"llama3", "<|python_tag|>print(1)", "C{print(1)}", 0},
    {"mistral-nemo", "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"n\": 1}, \"id\": \"123456789\"}, {\"name\": \"none\", \"arguments\": {}}]", "F{f {\"n\": 1}}F{none {}}", 0},
    {"mistral-nemo", "[TOOL_CALLS] [ {\"name\": \"f\", \"arguments\": {\"n\": 1}} ]", "F{f {\"n\": 1}}", 0},
    {"mistral-nemo", "[TOOL_CALLS]f[ARGS]{\"n\": 1}", "F{f {\"n\": 1}}", 0},
    {"command-r7b", "<|START_THINKING|>plan<|END_THINKING|><|START_ACTION|>[\n    {\"tool_call_id\": \"0\", \"tool_name\": \"f\", \"parameters\": {\"n\": 1}},\n    {\"tool_call_id\": \"1\", \"tool_name\": \"g\", \"parameters\": {}}\n]<|END_ACTION|>", "R{plan}F{f#0 {\"n\": 1}}F{g#1 {}}", 0},
    {"command-r7b", "<|START_RESPONSE|>Hello<|END_RESPONSE|>", "C{Hello}", 0},
    {"command-r", "Action:\n```json\n[\n    {\n        \"tool_name\": \"f\",\n        \"parameters\": {\"n\": 1}\n    }\n]```", "F{f {\"n\": 1}}", 0},
    {"firefunction", " functools[{\"name\": \"f\", \"arguments\": {\"n\": 1}}]", "F{f {\"n\": 1}}", 0},
    {"nemotron-v2", "<TOOLCALL>[{\"name\": \"f\", \"arguments\": {\"n\": 1}}]</TOOLCALL>", "F{f {\"n\": 1}}", 0},
    {"apriel", "<tool_calls>[{\"name\": \"f\", \"arguments\": {\"n\": 1}, \"id\": \"x\"}]</tool_calls>", "F{f {\"n\": 1}}", 0},
    {"apriel", "steps\n[BEGIN FINAL RESPONSE]\nHi\n[END FINAL RESPONSE]", "R{steps}C{Hi}", OPEN},
    {"minimax-m1", "<tool_calls>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n{\"name\": \"g\", \"arguments\": {}}\n</tool_calls>", "F{f {\"n\": 1}}F{g {}}", 0},
    {"granite3", "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"n\": 1}}]", "F{f {\"n\": 1}}", 0},
    {"gigachat3", "<|message_sep|>\n\nfunction call<|role_sep|>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}", "F{f {\"n\": 1}}", 0},
    {"gigachat3.1", "<|function_call|>{\"name\": \"f\", \"arguments\": {\"n\": 1}}", "F{f {\"n\": 1}}", 0},
    {"apertus", "<|inner_prefix|>hm<|inner_suffix|><|tools_prefix|>[{\"f\": {\"n\": 1}}, {\"g\": {}}]<|tools_suffix|>", "R{hm}F{f {\"n\": 1}}F{g {}}", 0},
    /* name, then JSON */
    {"mistral-small", "[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{\"n\": 1}", "F{f#123456789 {\"n\": 1}}", 0},
    {"mistral-small", "Hi.[TOOL_CALLS]f[ARGS]{\"n\": 1}[TOOL_CALLS]g[ARGS]{}", "C{Hi.}F{f {\"n\": 1}}F{g {}}", 0},
    {"mistral", "[THINK]hm[/THINK]Hi[TOOL_CALLS]f[ARGS]{\"n\": 1}", "R{hm}C{Hi}F{f {\"n\": 1}}", 0},
    {"deepseek-r1", "hm</think>\n\n<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"n\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "R{hm}F{f {\"n\": 1}}F{g {}}", OPEN},
    {"deepseek-v3.1", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"n\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "F{f {\"n\": 1}}", 0},
    {"deepseek-v3.1", "hm <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{\"n\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "R{hm}F{f {\"n\": 1}}", OPEN},
    {"kimi-k2", "Hi<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"n\": 1}<|tool_call_end|><|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>", "C{Hi}F{f#functions.f:0 {\"n\": 1}}F{g#functions.g:1 {}}", 0},
    {"solar", "<|think|>hm<|end|><|begin|>assistant<|tool_calls|><|tool_call:begin|>abc<|tool_call:name|>f<|tool_call:args|>{\"n\": 1}<|tool_call:end|><|calls|>", "R{hm}F{f#abc {\"n\": 1}}", 0},
    {"solar", "<|think|>hm<|end|><|begin|>assistant<|content|>Hi", "R{hm}C{Hi}", 0},
    {"functionary-v3.1", "<function=f>{\"n\": 1}</function>", "F{f {\"n\": 1}}", 0},
    {"functionary-v3.2", "f\n{\"n\": 1}", "F{f {\"n\": 1}}", 0},
    {"functionary-v3.2", "all\nHi\n>>>f\n{\"n\": 1}>>>g\n{}", "C{Hi}F{f {\"n\": 1}}F{g {}}", 0},
    {"functionary-v3.2", "all\nHi", "C{Hi}", NO_TOOLS},
    /* a tag for each parameter */
    {"qwen3-coder", "<tool_call>\n<function=f>\n<parameter=s>\n1\n</parameter>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>", "F{f {\"s\": \"1\", \"n\": 1}}", 0},
    {"qwen3-coder", "<tool_call>\n<function=f>\n<parameter=s>\n\n <a>\n\"b\"</param>\n\n</parameter>\n<parameter=o>\n{\"k\": [1]}\n</parameter>\n</function>\n</tool_call>", "F{f {\"s\": \"\\n <a>\\n\\\"b\\\"</param>\\n\", \"o\": {\"k\": [1]}}}", 0},
    {"qwen3-coder", "<function=f>\n<parameter=x>\nnull\n</parameter>\n</function>\n</tool_call> x", "F{f {\"x\": null}}C{x}", 0},
    {"qwen3-coder", "<tool_call>\n<function=unknown>\n<parameter=a>\nTrue\n</parameter>\n<parameter=b>\ntext\n</parameter>\n</function>\n</tool_call>", "F{unknown {\"a\": true, \"b\": \"text\"}}", 0},
    {"qwen3-coder", "<tool_call>\n<function=none>\n</function>\n</tool_call>", "F{none {}}", 0},
    {"qwen3-coder", "<tool_call>\n<function=f>\n<parameter=n>\n{broken\n</parameter>\n</function>\n</tool_call>", "F{f {\"n\": \"{broken\"}}", 0},
    {"qwen3-coder", "<tool_call>\n<function=f>\n<parameter=s>\nabc", "F{f {\"s\": \"abc", 0},
    {"qwen3-coder", "<tool_call>\n<function=f>\nwhat\n</tool_call>", "C{<tool_call>\n<function=f>\nwhat\n</tool_call>}", 0},
    {"qwen3-coder", "<tool_call>\n<function=f>\n<parameter=s>\nabc\n</parameter>\n</tool_call>", "F{f {\"s\": \"abc\"}}C{</tool_call>}", 0},
    {"seed", "<seed:think>hm</seed:think>\n<seed:tool_call>\n<function=f>\n<parameter=s>1</parameter>\n<parameter=n>2</parameter>\n</function>\n</seed:tool_call>", "R{hm}F{f {\"s\": \"1\", \"n\": 2}}", 0},
    {"minimax-m2", "<minimax:tool_call>\n<invoke name=\"f\">\n<parameter name=\"n\">1</parameter>\n</invoke>\n<invoke name=\"none\">\n</invoke>\n</minimax:tool_call>", "F{f {\"n\": 1}}F{none {}}", 0},
    {"minimax-m3", "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"f\">]<]minimax[>[<s>x]<]minimax[>[</s>]<]minimax[>[<n>3]<]minimax[>[</n>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>", "F{f {\"s\": \"x\", \"n\": 3}}", 0},
    {"minimax-m3", "]<]minimax[>[<tool_call>\n]<]minimax[>[<invoke name=\"f\">]<]minimax[>[<o>]<]minimax[>[<a>]<]minimax[>[<item>1]<]minimax[>[</item>]<]minimax[>[<item>x y]<]minimax[>[</item>]<]minimax[>[</a>]<]minimax[>[<b>]<]minimax[>[<a>true]<]minimax[>[</a>]<]minimax[>[</b>]<]minimax[>[</o>]<]minimax[>[<n>]<]minimax[>[<broken>]<]minimax[>[</n>]<]minimax[>[</invoke>\n]<]minimax[>[</tool_call>",
     "F{f {\"o\": {\"a\": [1, \"x y\"], \"b\": {\"a\": true}}, \"n\": \"]<]minimax[>[<broken>\"}}", 0},
    {"minicpm5", "<function name=\"f\"><param name=\"s\">x</param></function>", "F{f {\"s\": \"x\"}}", 0},
    {"glm", "<tool_call>f\n<arg_key>s</arg_key>\n<arg_value>x</arg_value>\n<arg_key>n</arg_key>\n<arg_value>1</arg_value>\n</tool_call>", "F{f {\"s\": \"x\", \"n\": 1}}", 0},
    {"glm", "<tool_call>f<arg_key>s</arg_key><arg_value>x</arg_value></tool_call><tool_call>none</tool_call>", "F{f {\"s\": \"x\"}}F{none {}}", 0},
    {"hunyuan", "<tool_calls:opensource>\n<tool_call:opensource>f<tool_sep:opensource>\n<arg_key:opensource>s</arg_key:opensource>\n<arg_value:opensource>x</arg_value:opensource>\n</tool_call:opensource>\n</tool_calls:opensource>", "F{f {\"s\": \"x\"}}", 0},
    {"dsml", "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"s\" string=\"true\">1</｜DSML｜parameter>\n<｜DSML｜parameter name=\"z\" string=\"false\">[1]</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>", "F{f {\"s\": \"1\", \"z\": [1]}}", 0},
    {"dsml-v4", "<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>", "F{f {}}", 0},
    {"kimi-k3", "hm<|close|>think<|sep|><|open|>response<|sep|>Hi<|close|>response<|sep|><|open|>tools<|sep|><|open|>call tool=\"f\" index=\"1\"<|sep|><|open|>argument key=\"n\" type=\"number\"<|sep|>1<|close|>argument<|sep|><|open|>argument key=\"s\" type=\"string\"<|sep|>1<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>", "R{hm}C{Hi}F{f {\"n\": 1, \"s\": \"1\"}}", OPEN},
    {"muse", " to=self<|message|>hm<|eom|><|start|>assistant to=f<|message|><atem:function_calls>\n<atem:invoke name=\"f\">\n<atem:parameter name=\"n\">1</atem:parameter>\n</atem:invoke>\n</atem:function_calls>", "R{hm}F{f {\"n\": 1}}", 0},
    {"muse", " to=user<|message|>Hi", "C{Hi}", 0},
    /* Python */
    {"pythonic", "[get_weather(city='S\\'F'), f(n=1, o={'a': [True, None, (1, 2)]}, s=\"q\\\"\\n\")]", "F{get_weather {\"city\": \"S'F\"}}F{f {\"n\": 1, \"o\": {\"a\": [true, null, [1, 2]]}, \"s\": \"q\\\"\\n\"}}", 0},
    {"pythonic", "[none()]", "F{none {}}", 0},
    {"pythonic", "[1, 2]", "C{[1, 2]}", 0},
    {"pythonic", "[unknown(a=1)]", "C{[unknown(a=1)]}", 0},
    {"pythonic", "[f(1)]", "C{[f(1)]}", 0},
    {"lfm2", "<|tool_call_start|>[f(n=1)]<|tool_call_end|>Checking.", "F{f {\"n\": 1}}C{Checking.}", 0},
    {"olmo3", "<function_calls>\nf(n=1)\ng(s=\"x\")\n</function_calls>", "F{f {\"n\": 1}}F{g {\"s\": \"x\"}}", 0},
    /* Gemma */
    {"gemma4", "<|channel>thought\nhm\n<channel|><|tool_call>call:f{s:<|\"|>Lon<don{<|\"|>,n:-1.5,o:{a:[true,<|\"|>x<|\"|>]}}<tool_call|>", "R{hm}F{f {\"s\": \"Lon<don{\", \"n\": -1.5, \"o\": {\"a\": [true, \"x\"]}}}", 0},
    {"gemma4", "<|tool_call>call:f{}<tool_call|><|tool_call>call:g{s:two words}<tool_call|>", "F{f {}}F{g {\"s\": \"two words\"}}", 0},
    {"functiongemma", "<start_function_call>call:f{s:<escape>London<escape>}<end_function_call>", "F{f {\"s\": \"London\"}}", 0},
    /* harmony */
    {"harmony", "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Hi <b>", "R{hm}C{Hi <b>}", 0},
    {"harmony", "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary to=functions.f <|constrain|>json<|message|>{\"n\": 1}<|call|>", "R{hm}F{f {\"n\": 1}}", 0},
    {"harmony", " to=functions.f<|channel|>commentary json<|message|>{\"n\": 1}", "F{f {\"n\": 1}}", 0},
    {"harmony", "<|channel|>commentary<|message|>Let me see.<|end|><|start|>assistant to=functions.f<|channel|>commentary<|message|>{}<|call|>", "C{Let me see.}F{f {}}", 0},
    {"harmony", "Plain text", "C{Plain text}", 0},
    {"harmony", "<|channel|>final<|message|>Hi", "C{Hi}", NO_TOOLS | NO_REASONING},
    {"harmony", "<|channel|>analysis<|message|>hm<|end|>", "C{<|channel|>analysis<|message|>hm<|end|>}", NO_REASONING},
    {"harmony", "<|channel|>commentary to=functions.f<|message|>no json<|call|>", "C{<|channel|>commentary to=functions.f<|message|>no json<|call|>}", 0},
    {"harmony", "<|channel|>ana", "", 0},
    {"harmony", "<|channel|>commentary to=functions.f<|message|>{\"n\": ", "F{f {\"n\": ", 0},
    {"harmony", "<|channel|>commentary to=functions.f<|message|>", "C{<|channel|>commentary to=functions.f<|message|>}", 0},
    {"harmony", "hm<|end|><|start|>assistant<|channel|>final<|message|>Hi", "R{hm}C{Hi}", OPEN},
};
// clang-format on

/* Events as text; pieces of one kind are joined. */
struct record {
    struct buf out;
    char open; /* the kind that out ends in, 0: none */
    uint32_t n_calls;
};

static void close_open(struct record *r)
{
    if (r->open == 'C' || r->open == 'R') buf_addc(&r->out, '}');
    r->open = 0;
}

static void on_event(void *user, const struct chat_event *ev)
{
    struct record *r = user;
    char kind = ev->kind == CHAT_CONTENT ? 'C' : ev->kind == CHAT_REASONING ? 'R' : 'F';
    if (kind != 'F') {
        assert_true(ev->n > 0);
        if (r->open != kind) {
            close_open(r);
            buf_addf(&r->out, "%c{", kind);
        }
        r->open = kind;
    } else if (ev->kind == CHAT_CALL) {
        close_open(r);
        assert_int_equal(ev->call, r->n_calls++);
        assert_true(ev->id && ev->id[0]);
        bool nine = strlen(ev->id) == 9 && !strpbrk(ev->id, "._-") && strcmp(ev->id, "123456789") != 0;
        bool made = nine || !strncmp(ev->id, "call_", 5);
        buf_addf(&r->out, "F{%s%s%s ", ev->name, made ? "" : "#", made ? "" : ev->id);
        r->open = 'F';
    } else {
        assert_int_equal(ev->call, r->n_calls - 1);
        assert_int_equal(r->open, 'F');
        if (ev->kind == CHAT_CALL_END) {
            buf_addc(&r->out, '}');
            r->open = 0;
        }
    }
    if (ev->n) buf_add(&r->out, ev->text, ev->n);
}

static uint32_t rng_state = 1;
static uint32_t random_below(uint32_t n)
{
    rng_state = rng_state * 1664525u + 1013904223u;
    return (rng_state >> 8) % n;
}

/* What comes out when text is cut after every step bytes (0: at random), the first time at `first`. */
static char *parse(const struct chat_format *f, const struct parse_case *c, size_t first, size_t step,
                   const json_t *list)
{
    struct chat_parse_options o = {.tools = !(c->options & NO_TOOLS),
                                   .reasoning = !(c->options & NO_REASONING),
                                   .think_open = c->options & OPEN,
                                   .tool_list = list,
                                   .id_seed = 7};
    struct record r = {0};
    struct chat_parser *p;
    struct error e;
    size_t n = strlen(c->text);
    assert_int_equal(chat_parser_new(&p, f, &o, &e), OK);
    for (size_t i = 0; i < n;) {
        size_t k = i == 0 && first ? first : step ? step : 1 + random_below(9);
        k = MIN(k, n - i);
        char *piece = mem_strndup(c->text + i, k); /* so that a sanitizer sees reads behind it */
        chat_parser_push(p, piece, k, on_event, &r);
        free(piece);
        i += k;
    }
    chat_parser_finish(p, on_event, &r);
    chat_parser_free(p);
    close_open(&r);
    buf_adds(&r.out, "");
    char *text = mem_strdup(r.out.data);
    buf_deinit(&r.out);
    return text;
}

/* Tags of reasoning come from the template's text. */
static struct chat_format *format_for(const char *wire)
{
    static const char *const signs[][2] = {
        {"harmony", "<|channel|>analysis"},
        {"muse", "to=self<|message|>"},
        {"kimi-k3", "<|open|>"},
        {"solar", "<|think|>"},
        {"gemma4", "<channel|>"},
        {"command-r7b", "<|START_THINKING|>"},
        {"apertus", "<|inner_prefix|>"},
        {"mistral", "[THINK]"},
        {"seed", "<seed:think>"},
        {"apriel", "[BEGIN FINAL RESPONSE]"},
    };
    struct chat_format *f;
    struct error e;
    char text[200] = "</think>{# #}";
    for (size_t i = 0; i < COUNT_OF(signs); i++)
        if (!strcmp(signs[i][0], wire)) snprintf(text, sizeof text, "{# %s #}", signs[i][1]);
    assert_int_equal(chat_format_new(&f, NULL, text, strlen(text), &e), OK);
    assert_non_null(chat_wire_find(wire));
    chat_format_set_wire(f, chat_wire_find(wire));
    return f;
}

static int check(const struct parse_case *c, const char *got, const char *how, size_t at)
{
    if (!strcmp(got, c->want)) return 0;
    print_error("%s, %s %zu:\n text %s\n got  %s\n want %s\n", c->wire, how, at, c->text, got, c->want);
    return 1;
}

static void formats_parse_however_text_is_cut(void **state)
{
    json_t *list = json_loads(tools, 0, NULL);
    int bad = 0;
    assert_non_null(list);
    log_set_level(LOG_ERROR);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct parse_case *c = &cases[i];
        struct chat_format *f = format_for(c->wire);
        size_t n = strlen(c->text);
        char *got = parse(f, c, 0, n + 1, list);
        int whole = check(c, got, "whole", 0);
        free(got);
        bad += whole;
        for (size_t at = 1; !whole && at < n; at++) {
            got = parse(f, c, at, n, list);
            bad += check(c, got, "cut at", at);
            free(got);
        }
        for (size_t step = 0; !whole && step < 12; step++) {
            got = parse(f, c, 0, step < 4 ? step : 0, list);
            bad += check(c, got, "in pieces of", step);
            free(got);
        }
        chat_format_free(f);
    }
    json_decref(list);
    assert_int_equal(bad, 0);
}

/* Every row of the table has a case above. */
static void no_format_is_forgotten(void **state)
{
    const struct chat_wire *w;
    for (size_t i = 0; (w = chat_wire_at(i)); i++) {
        bool found = !strcmp(w->name, "none") || !strcmp(w->name, "llama3-builtin");
        for (size_t k = 0; k < COUNT_OF(cases); k++) found |= !strcmp(cases[k].wire, w->name);
        if (!found) fail_msg("no case for %s", w->name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_parse_however_text_is_cut),
        cmocka_unit_test(no_format_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
