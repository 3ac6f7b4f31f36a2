/* Lark grammars: which texts each lets through, and what is refused. */
#include <string.h>

#include "grammar/grammar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

// clang-format off
static const struct { const char *grammar, *yes[6], *no[7]; } cases[] = {
    {"start: \"a\" \"b\"", {"ab"}, {"a", "abc", " ab", ""}},
    {"start: \"Yes\"i | /[0-9]+/ -> number\n", {"yes", "YES", "42"}, {"4x", "ye"}},
    {"?start: x\n  | y\nx: \"(\" x \")\" | \"x\" // a comment\n!y.2: \"y\"~2..3 # another\n", {"x", "((x))", "yy", "yyy"}, {"(x", "y", "yyyy", "(y)"}},
    {"start: WORD [\",\" WORD] (\";\" WORD)*\nWORD: \"a\"..\"c\"+", {"abc", "a,b", "a,b;c;cc", "a;b"}, {"d", "a,b,c", ",a"}},
    {"start: item+\nitem: NAME \"=\" NUMBER\n%import common.CNAME -> NAME\n%import common (NUMBER, WS)\n%ignore WS\n",
     {"a=1", "a = 1.5e3\n b_2=7 ", " x=1"}, {"a=", "1=a", "a=1=", "="}},
    {"start: \"\\\"\" /[^\"\\/]*/ \"\\\"\"", {"\"abc\""}, {"\"a/\"", "\""}},
    {"start: \"call \" %json {\"type\": \"object\", \"properties\": {\"n\": {\"type\": \"integer\"}}, \"required\": [\"n\"], \"additionalProperties\": false} \";\"\n",
     {"call {\"n\": 3};"}, {"call {};", "call {\"n\": \"x\"};", "call {\"n\": 3}"}},
    {"start: A\nA: B \"-\" B\nB: /x/\n%ignore \" \"\n", {"x-x", " x-x "}, {"x - x"}},
};
static const struct { const char *grammar; status code; const char *want; } refused[] = {
    {"start: e\ne: e \"+\" \"1\" | \"1\"", ERR_UNSUPPORTED, "left-recursive"},
    {"start: x", ERR_ARG, "\"x\" is not defined"},
    {"begin: \"a\"", ERR_ARG, "\"start\" is not defined"},
    {"start: \"a", ERR_ARG, "not closed"},
    {"start: \"a\"..\"", ERR_ARG, "ends within a text"},
    {"start: \"a\\", ERR_ARG, "ends in a backslash"},
    {"start: \"a\"\nstart: \"b\"", ERR_ARG, "line 2: a name is defined twice"},
    {"start: A\nA: b\nb: \"x\"", ERR_ARG, "only be made of terminals"},
    {"start: (\"a\"", ERR_ARG, "not closed"},
    {"start: /a/i", ERR_UNSUPPORTED, "flags"},
    {"start: \"a\"\n%declare X", ERR_UNSUPPORTED, "only %import"},
    {"%import python.NAME\nstart: NAME", ERR_UNSUPPORTED, "only from common"},
    {"start: f{\"a\"}", ERR_UNSUPPORTED, "templates"},
    {"start: \"a\"~3..1", ERR_ARG, "backwards"},
    {"start: %json {\"type\": \"strin\"}", ERR_ARG, "type"},
};
// clang-format on

static bool has(struct grammar *g, const char *text)
{
    struct grammar_state *s = grammar_state_new(g);
    bool yes = grammar_state_accept(s, text, strlen(text)) && grammar_state_can_end(s);
    grammar_state_free(s);
    return yes;
}

static void grammars_let_through(void **state)
{
    int wrong = 0;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct grammar *g;
        struct error e;
        if (grammar_compile(&g, "lark", cases[i].grammar, strlen(cases[i].grammar), NULL, &e) != OK)
            fail_msg("%s: %s", cases[i].grammar, e.msg);
        for (const char *const *t = cases[i].yes; *t; t++)
            if (!has(g, *t) && ++wrong) print_error("%s: refuses \"%s\"\n", cases[i].grammar, *t);
        for (const char *const *t = cases[i].no; *t; t++)
            if (has(g, *t) && ++wrong) print_error("%s: accepts \"%s\"\n", cases[i].grammar, *t);
        grammar_unref(g);
    }
    assert_int_equal(wrong, 0);
}

static void others_are_refused(void **state)
{
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        struct grammar *g;
        struct error e = {0};
        status code = grammar_compile(&g, "lark", refused[i].grammar, strlen(refused[i].grammar), NULL, &e);
        if (code != refused[i].code || !strstr(e.msg, refused[i].want))
            fail_msg("%s: %s, \"%s\"; want %s, \"%s\"", refused[i].grammar, status_name(code), e.msg,
                     status_name(refused[i].code), refused[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grammars_let_through),
        cmocka_unit_test(others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
