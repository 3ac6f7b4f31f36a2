/* Constraints of whole answers: calls in every wire format, required or announced by their trigger, and
 * reasoning before them. The texts are put together from the descriptors. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "api/constraint_chat.h"
#include "grammar/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static const char tools_text[] =
    "[{\"type\": \"function\", \"function\": {\"name\": \"look\", \"parameters\": {\"type\": \"object\", "
    "\"properties\": {"
    "\"city\": {\"type\": \"string\"}, \"days\": {\"type\": \"integer\"}}, \"required\": [\"city\"]}}},"
    "{\"type\": \"function\", \"function\": {\"name\": \"stop\"}}]";

static void add_replaced(struct buf *out, const char *text, const char *name, const char *key,
                         const char *type)
{
    const struct {
        const char *word, *value;
    } all[] = {{"{name}", name}, {"{id}", "abc123XYZ"},
               {"{index}", "0"}, {"{key}", key},
               {"{type}", type}, {"{string}", strcmp(type, "string") == 0 ? "true" : "false"}};
    while (*text) {
        size_t i = 0;
        while (i < COUNT_OF(all) && strncmp(text, all[i].word, strlen(all[i].word)) != 0) i++;
        if (i == COUNT_OF(all)) {
            buf_addc(out, *text++);
            continue;
        }
        buf_adds(out, all[i].value);
        text += strlen(all[i].word);
    }
}

static void add_args(struct buf *out, const struct chat_wire *w, const char *days)
{
    switch (w->args) {
    case CHAT_ARGS_JSON: buf_addf(out, "{\"city\": \"New York\", \"days\": %s}", days); break;
    case CHAT_ARGS_PYTHON: buf_addf(out, "city='New York', days=%s", days); break;
    case CHAT_ARGS_GEMMA: buf_addf(out, "{city:%sNew York%s,days:%s}", w->quote, w->quote, days); break;
    case CHAT_ARGS_TAGGED:
        add_replaced(out, w->param_head, "", "city", "string");
        buf_adds(out, "New York");
        add_replaced(out, w->param_tail, "", "city", "string");
        buf_adds(out, w->between_params);
        add_replaced(out, w->param_head, "", "days", "integer");
        buf_adds(out, days);
        add_replaced(out, w->param_tail, "", "days", "integer");
        break;
    }
}

static void add_call(struct buf *out, const struct chat_wire *w, const char *name, const char *days)
{
    add_replaced(out, w->head, name, "", "");
    add_args(out, w, days);
    buf_adds(out, w->tail);
}

/* The whole text of n calls. */
static void make(struct buf *out, const struct chat_wire *w, const char *before, int n, const char *name,
                 const char *days)
{
    buf_reset(out);
    buf_adds(out, before);
    buf_adds(out, w->begin);
    for (int i = 0; i < n; i++) {
        if (i) buf_adds(out, w->between);
        add_call(out, w, name, days);
    }
    buf_adds(out, w->end);
}

static bool has(struct grammar *g, const char *text)
{
    struct grammar_state *s = grammar_state_new(g);
    bool yes = grammar_state_accept(s, text, strlen(text)) && grammar_state_can_end(s);
    grammar_state_free(s);
    return yes;
}

static struct grammar *compile(struct constraint_spec *s)
{
    struct grammar *g;
    struct error e;
    if (grammar_compile(&g, s->kind, s->text.data, s->text.n, &s->options, &e) != OK)
        fail_msg("%s in %.2000s", e.msg, s->text.data);
    constraint_spec_deinit(s);
    return g;
}

static struct grammar *answer(const struct answer_shape *a, const char *schema)
{
    struct constraint_spec s = {0};
    struct error e;
    if (schema && constraint_from_text(&s, "json_schema", schema, strlen(schema), &e) != OK)
        fail_msg("%s", e.msg);
    if (constraint_for_answer(&s, a, &e) != OK) fail_msg("%s: %s", a->caps->wire->name, e.msg);
    return compile(&s);
}

static int expect(struct grammar *g, const struct chat_wire *w, const char *what, const char *text, bool want)
{
    if (has(g, text) == want) return 0;
    print_error("%s, %s: %s \"%s\"\n", w->name, what, want ? "refuses" : "accepts", text);
    return 1;
}

static void every_wire(void **state)
{
    json_t *tools = json_loads(tools_text, 0, NULL);
    const struct chat_wire *w;
    struct buf t = {0};
    int wrong = 0, n = 0;
    for (size_t i = 0; (w = chat_wire_at(i)); i++) {
        if (!*w->head) continue; /* "none" */
        const struct chat_caps caps = {.tools = true, .wire = w, .think_begin = "", .think_end = ""};
        struct answer_shape a = {.caps = &caps, .tools = tools, .calls = ANSWER_MUST_CALL, .parallel = true};
        struct grammar *must = answer(&a, NULL);
        a.only = "stop";
        struct grammar *named = answer(&a, NULL);
        a.only = NULL;
        a.calls = ANSWER_MAY_CALL;
        make(&t, w, "", 1, "look", "3");
        wrong += expect(must, w, "must", t.data, true);
        wrong += expect(named, w, "named", t.data, false);
        make(&t, w, "", 2, "look", "3");
        wrong += expect(must, w, "must", t.data, w->parallel);
        make(&t, w, "", 1, "leek", "3");
        wrong += expect(must, w, "must", t.data, false);
        make(&t, w, "", 1, "look", "\"x");
        wrong += expect(must, w, "must", t.data, false);
        wrong += expect(must, w, "must", "text", false);
        n++;
        /* A call that nothing announces stands at the beginning, and behind text is text. */
        struct grammar *may = answer(&a, NULL);
        bool bare = !*w->trigger;
        make(&t, w, bare ? "" : "I will look. ", 1, "look", "3");
        wrong += expect(may, w, "may", t.data, true);
        make(&t, w, bare ? "" : "I will look. ", 1, "look", "\"x");
        wrong += expect(may, w, "may", t.data, false);
        make(&t, w, "I will look. ", 1, "leek", "3");
        wrong += expect(may, w, "may", t.data, bare);
        wrong += expect(may, w, "may", "just text", true);
        wrong += expect(may, w, "may", "", true);
        grammar_unref(may);
        grammar_unref(must);
        grammar_unref(named);
    }
    buf_deinit(&t);
    json_decref(tools);
    assert_int_equal(wrong, 0);
    assert_true(n > 0);
}

/* What begins like a call of one of the tools is one; whatever else, JSON and lists too, is text. */
static void calls_that_nothing_announces(void **state)
{
    static const struct {
        const char *wire, *text;
        bool want;
    } c[] = {
        {"llama3", "{\"name\": \"look\", \"parameters\": {\"city\": \"P\"}}", true},
        {"llama3", "{\"name\": \"look\", \"parameters\": {\"town\": 3}}", false},
        {"llama3", "{\"name\":\"look\", \"arguments\": 3}", false},
        {"llama3", " \n{ \"name\" :\t\"look\"", false},
        {"llama3", "{\"name\": \"look", true}, /* text that stops short */
        {"llama3", "{\"name\": \"looks\", \"age\": 3}", true},
        {"llama3", "{\"name\": \"Ann\", \"age\": 3}", true},
        {"llama3", "{\"names\": []}", true},
        {"llama3", "{", true},
        {"llama3", "  ", true},
        {"llama3", "\xC3\xA9t\xC3\xA9", true},
        {"llama3", "See {\"name\": \"look\", so", true},
        {"pythonic", "[look(city='P', days=2), stop()]", true},
        {"pythonic", "[look(3)]", false},
        {"pythonic", "[ look(city=", false},
        {"pythonic", "[look, stop]", true},
        {"pythonic", "[1, 2]", true},
        {"pythonic", "[unknown(a=1)]", true},
        {"pythonic", "look(city='P')", true},
    };
    json_t *tools = json_loads(tools_text, 0, NULL);
    int wrong = 0;
    for (size_t i = 0; i < COUNT_OF(c); i++) {
        const struct chat_caps caps = {
            .tools = true, .wire = chat_wire_find(c[i].wire), .think_begin = "", .think_end = ""};
        const struct answer_shape a = {
            .caps = &caps, .tools = tools, .calls = ANSWER_MAY_CALL, .parallel = true};
        struct grammar *g = answer(&a, NULL);
        wrong += expect(g, caps.wire, "may", c[i].text, c[i].want);
        grammar_unref(g);
    }
    json_decref(tools);
    assert_int_equal(wrong, 0);
}

/* Hundreds of tools with long names. */
static void many_tools(void **state)
{
    json_t *tools = json_array();
    const struct chat_caps caps = {
        .tools = true, .wire = chat_wire_find("llama3"), .think_begin = "", .think_end = ""};
    const struct answer_shape a = {.caps = &caps, .tools = tools, .calls = ANSWER_MAY_CALL};
    for (int i = 0; i < 300; i++) {
        char name[80];
        snprintf(name, sizeof name, "tool_%d_with_a_name_that_is_as_long_as_names_may_be_in_some_apis",
                 i * 7919 % 1000);
        json_array_append_new(tools,
                              json_pack("{s:s, s:{s:s}}", "type", "function", "function", "name", name));
    }
    struct grammar *g = answer(&a, NULL);
    assert_true(has(g, "just text"));
    assert_true(has(g, "{\"name\": \"other\"}"));
    assert_false(has(
        g, "{\"name\": \"tool_919_with_a_name_that_is_as_long_as_names_may_be_in_some_apis\", \"x\": 1}"));
    grammar_unref(g);
    json_decref(tools);
}

static void reasoning_and_content(void **state)
{
    json_t *tools = json_loads(tools_text, 0, NULL);
    const struct chat_wire *w = chat_wire_find("hermes");
    const struct chat_caps caps = {
        .tools = true, .wire = w, .thinks = true, .think_begin = "<think>", .think_end = "</think>"};
    const char call[] = "<tool_call>\n{\"name\": \"stop\", \"arguments\": {}}\n</tool_call>";
    static const struct {
        enum answer_calls calls;
        bool open;
        const char *schema, *before;
        bool call, content; /* whether before and then a call, or `null`, is an answer */
        enum chat_think think;
    } c[] = {
        {ANSWER_NO_CALLS, false, "{\"type\": \"null\"}", "", false, true, CHAT_THINK_DEFAULT},
        {ANSWER_NO_CALLS, false, "{\"type\": \"null\"}", "", false, true, CHAT_THINK_OFF},
        {ANSWER_NO_CALLS, false, "{\"type\": \"null\"}", "<think></think>", false, false, CHAT_THINK_OFF},
        {ANSWER_NO_CALLS, true, "{\"type\": \"null\"}", "so</think>", false, true, CHAT_THINK_OFF},
        {ANSWER_NO_CALLS, false, "{\"type\": \"null\"}", "<think>a null</think>\n\n", false, true,
         CHAT_THINK_DEFAULT},
        {ANSWER_NO_CALLS, true, "{\"type\": \"null\"}", "", false, false, CHAT_THINK_DEFAULT},
        {ANSWER_NO_CALLS, true, "{\"type\": \"null\"}", "so</think>", false, true, CHAT_THINK_DEFAULT},
        {ANSWER_MUST_CALL, false, NULL, "", true, false, CHAT_THINK_DEFAULT},
        {ANSWER_MUST_CALL, true, NULL, "so <tool_call> </think>\n", true, false, CHAT_THINK_DEFAULT},
        {ANSWER_MUST_CALL, true, NULL, "", false, false, CHAT_THINK_DEFAULT},
        {ANSWER_MAY_CALL, true, NULL, "a</think>I will.", true, true, CHAT_THINK_DEFAULT},
        {ANSWER_MAY_CALL, false, "{\"type\": \"null\"}", "", true, true, CHAT_THINK_DEFAULT},
        {ANSWER_MAY_CALL, false, "{\"type\": \"null\"}", "<think></think>", true, true, CHAT_THINK_DEFAULT},
        {ANSWER_MAY_CALL, false, "{\"type\": \"null\"}", "x", false, false, CHAT_THINK_DEFAULT},
    };
    int wrong = 0;
    for (size_t i = 0; i < COUNT_OF(c); i++) {
        struct answer_shape a = {
            .caps = &caps, .tools = tools, .calls = c[i].calls, .think_open = c[i].open, .think = c[i].think};
        struct grammar *g = answer(&a, c[i].schema);
        struct buf t = {0};
        buf_addf(&t, "%s%s", c[i].before, call);
        wrong += expect(g, w, "call", t.data, c[i].call);
        buf_reset(&t);
        buf_addf(&t, "%snull", c[i].before);
        wrong += expect(g, w, "content", t.data, c[i].content);
        buf_deinit(&t);
        grammar_unref(g);
    }
    json_decref(tools);
    assert_int_equal(wrong, 0);
}

static void what_is_refused(void **state)
{
    static const struct {
        const char *tools, *only, *wire;
        status code;
        const char *want;
    } c[] = {
        {"[{\"type\": \"function\", \"function\": {\"name\": \"a\"}}]", "b", "hermes", ERR_ARG,
         "no function \"b\""},
        {"[{\"type\": \"function\", \"function\": {}}]", NULL, "hermes", ERR_ARG, "tools[0]"},
        {"[{\"type\": \"function\", \"function\": {\"name\": \"a b\"}}]", NULL, "hermes", ERR_ARG, "no name"},
        {"[{\"type\": \"function\", \"function\": {\"name\": \"a\", \"parameters\": 3}}]", NULL, "hermes",
         ERR_ARG, "parameters"},
        {"[]", NULL, "hermes", ERR_ARG, "at least one"},
        {"[{\"type\": \"function\", \"function\": {\"name\": \"a\"}}]", NULL, "none", ERR_UNSUPPORTED,
         "no tool calls"},
    };
    for (size_t i = 0; i < COUNT_OF(c); i++) {
        const struct chat_caps caps = {.wire = chat_wire_find(c[i].wire), .think_begin = "", .think_end = ""};
        json_t *tools = json_loads(c[i].tools, 0, NULL);
        const struct answer_shape a = {
            .caps = &caps, .tools = tools, .calls = ANSWER_MUST_CALL, .only = c[i].only};
        struct constraint_spec s = {0};
        struct error e = {0};
        assert_int_equal(constraint_for_answer(&s, &a, &e), c[i].code);
        if (!strstr(e.msg, c[i].want)) fail_msg("\"%s\", want \"%s\"", e.msg, c[i].want);
        assert_null(s.kind);
        json_decref(tools);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_wire),      cmocka_unit_test(calls_that_nothing_announces),
        cmocka_unit_test(many_tools),      cmocka_unit_test(reasoning_and_content),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
