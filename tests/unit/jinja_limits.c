/* Templates that want too much, places of errors, causes, what lenient allows, and threads. */
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "text/jinja/jinja.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

/* Parse and render; out is empty after a failure. */
static status run(const char *src, const struct jinja_options *o, struct buf *out, struct jinja_fault *fault,
                  struct error *e)
{
    json_t *vars = json_pack("{s:[i,i,i],s:s,s:i}", "l", 3, 1, 2, "s", "text", "n", 5);
    struct jinja *t;
    status code = jinja_parse(&t, src, strlen(src), fault, e);
    if (code == OK) code = jinja_render(t, vars, o, out, fault, e);
    jinja_free(t);
    json_decref(vars);
    return code;
}

/* --- limits --- */

static void a_template_that_wants_too_much_is_stopped(void **state)
{
    static const struct {
        const char *src, *want;
        struct jinja_limits limits;
    } cases[] = {
        {"{% for i in range(1000) %}{% for k in range(1000) %}{% endfor %}{% endfor %}",
         "steps",
         {.steps = 10000}},
        {"{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
         "steps",
         {.steps = 100000}},
        {"{% for i in range(99999) %}{% for k in range(99999) %}{{ i * k }}{% endfor %}{% endfor %}",
         "long",
         {.cpu_ms = 1}},
        {"{{ 'x' * 100000 }}", "bytes", {.output_bytes = 1000}},
        {"{% set x %}{{ 'x' * 100000 }}{% endset %}", "bytes", {.output_bytes = 1000}},
        {"{{ 'a%999999s'|format('b') }}", "bytes", {.output_bytes = 1000}},
        {"{{ '{:>999999}'.format('b') }}", "bytes", {.output_bytes = 1000}},
        {"{{ 'a'.ljust(10000000000) }}", "bytes", {.output_bytes = 1000, .steps = 10000000000}},
        {"{{ [0] * 100000 }}", "memory", {.memory_bytes = 200000}},
        {"{% set ns = namespace(x='x') %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
         "memory",
         {.memory_bytes = 1 << 20}},
        {"{% for i in range(99999) %}{% set x = [i, i] %}{% endfor %}", "memory", {.memory_bytes = 1 << 20}},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion", {.depth = 100}},
        {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion", {0}},
        {"{% for x in [[[[[[[[1]]]]]]]] recursive %}{{ loop([x]) }}{% endfor %}", "recursion", {0}},
        {"{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", "recursion", {0}},
        {"{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns.x == ns.x + [] }}{{ ns.x|string }}",
         "recursion",
         {0}},
        {"{{ 'y' * 1000000000 }}", "memory", {0}},
        {"{{ 'yy' * 9223372036854775807 }}", "memory", {0}},
        {"{{ [1, 2] * 9223372036854775807 }}", "memory", {0}},
        {"{{ l|batch(1000000000, 'x')|list }}", "memory", {0}},
        {"{% for i in range(99999) %}{{ ('a' * 1000).replace('', 'bb')|length }}{% endfor %}", "", {0}},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct jinja_options o = {.limits = cases[i].limits};
        struct jinja_fault fault = {0};
        struct buf out = {0};
        struct error e = {0};
        status code = run(cases[i].src, &o, &out, &fault, &e);
        if (code != ERR_LIMIT || fault.cause != JINJA_LIMIT || !strstr(e.msg, cases[i].want) || out.n)
            fail_msg("%s: %s \"%s\", want a limit of %s", cases[i].src, status_name(code), e.msg,
                     cases[i].want);
        buf_deinit(&out);
    }
}

static void nesting_is_limited_when_parsing(void **state)
{
    static const struct {
        const char *open, *close;
    } cases[] = {
        {"{% if 1 %}", "{% endif %}"}, {"{{ (", ") }}"}, {"(", ")"}, {"[", "]"}, {"not ", ""}, {"- ", ""}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf src = {0}, out = {0};
        struct error e = {0};
        bool expr = cases[i].open[0] != '{';
        if (expr) buf_adds(&src, "{{ ");
        for (int k = 0; k < 100000; k++) buf_adds(&src, cases[i].open);
        buf_adds(&src, "1");
        for (int k = 0; k < 100000; k++) buf_adds(&src, cases[i].close);
        if (expr) buf_adds(&src, " }}");
        if (run(src.data, NULL, &out, NULL, &e) == OK) fail_msg("100000 times %s was parsed", cases[i].open);
        buf_deinit(&src);
        buf_deinit(&out);
    }
}

/* Long, but not deep in the source: only the evaluation is. */
static void long_chains_end_in_an_answer(void **state)
{
    static const char *const link[] = {" + 1", " or 0", "|string", "[0]",   ".x",
                                       "()",   " ~ 1",  " < 1",    " if 1", " is none"};
    for (size_t i = 0; i < COUNT_OF(link); i++) {
        struct buf src = {0}, out = {0};
        struct error e = {0};
        buf_adds(&src, "{{ 1");
        for (int k = 0; k < 20000; k++) buf_adds(&src, link[i]);
        buf_adds(&src, " }}");
        status code = run(src.data, NULL, &out, NULL, &e);
        assert_true(code == OK || e.msg[0]);
        buf_deinit(&src);
        buf_deinit(&out);
    }
}

/* --- errors --- */

static void errors_say_where_and_why(void **state)
{
    static const struct {
        const char *src;
        status code;
        enum jinja_cause cause;
        uint32_t line, column;
        const char *msg;
    } cases[] = {
        {"a\nb{{ x.y }}", ERR_ARG, JINJA_RUNTIME, 2, 6, "line 2, column 6: 'x' is undefined"},
        {"\xC3\xA9\xC3\xA9{{ 1 + s }}", ERR_ARG, JINJA_RUNTIME, 1, 8, "'int' and 'str'"},
        {"a\r\n\r\n  {{ l.x.y }}", ERR_ARG, JINJA_RUNTIME, 3, 9, "'list object' has no attribute 'x'"},
        {"{% for i in n %}{% endfor %}", ERR_ARG, JINJA_RUNTIME, 1, 13, "'int' object is not iterable"},
        {"{{ raise_exception('no ' ~ n) }}", ERR_ARG, JINJA_RAISED, 1, 19, "no 5"},
        {"{% if x %}\n{{ 1 }}", ERR_FORMAT, JINJA_SYNTAX, 1, 4, "endif"},
        {"{{ 1 }}\n{% endif %}", ERR_FORMAT, JINJA_SYNTAX, 2, 4, "unknown tag 'endif'"},
        {"{{ 'abc }}", ERR_FORMAT, JINJA_SYNTAX, 1, 4, "does not end"},
        {"x {# y", ERR_FORMAT, JINJA_SYNTAX, 1, 3, "missing end of comment"},
        {"{% raw %}x", ERR_FORMAT, JINJA_SYNTAX, 1, 1, "endraw"},
        {"{{ (1] }}", ERR_FORMAT, JINJA_SYNTAX, 1, 6, "unexpected ']', expected ')'"},
        {"{{ 1 | nosuch }}", ERR_FORMAT, JINJA_SYNTAX, 1, 8, "No filter named 'nosuch'"},
        {"{% include 'x' %}", ERR_FORMAT, JINJA_SYNTAX, 1, 4,
         "include, import and extends are not supported"},
        {"{% autoescape true %}{% endautoescape %}", ERR_FORMAT, JINJA_SYNTAX, 1, 4, "not supported"},
        {"{{ 99999999999999999999 }}", ERR_FORMAT, JINJA_SYNTAX, 1, 4, "64 bits"},
        {"{{ 9223372036854775807 + 1 }}", ERR_ARG, JINJA_RUNTIME, 1, 24, "64 bits"},
        {"\xff", ERR_FORMAT, JINJA_SYNTAX, 0, 0, "UTF-8"},
        {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", ERR_ARG, JINJA_RUNTIME, 1, 35,
         "not more than 1 argument"},
        {"{{ l.append(1) }}", ERR_ARG, JINJA_RUNTIME, 1, 12, "unsafe"},
        {"{{ s.__class__.__mro__ }}", ERR_ARG, JINJA_RUNTIME, 1, 15, "unsafe"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct jinja_fault f = {0};
        struct buf out = {0};
        struct error e = {0};
        status code = run(cases[i].src, NULL, &out, &f, &e);
        if (code != cases[i].code || f.cause != cases[i].cause || f.line != cases[i].line ||
            f.column != cases[i].column || !strstr(e.msg, cases[i].msg))
            fail_msg("%s: %s, cause %d, %u:%u, \"%s\"", cases[i].src, status_name(code), (int)f.cause, f.line,
                     f.column, e.msg);
        buf_deinit(&out);
    }
}

static void output_is_appended_and_a_failure_leaves_it(void **state)
{
    struct buf out = {0};
    struct error e;
    buf_adds(&out, "before ");
    assert_int_equal(run("{{ n }}", NULL, &out, NULL, &e), OK);
    assert_string_equal(out.data, "before 5");
    assert_int_equal(run("lost {{ n.x.y }}", NULL, &out, NULL, &e), ERR_ARG);
    assert_string_equal(out.data, "before 5");
    out.max = 10;
    assert_int_equal(run("0123456789", NULL, &out, NULL, &e), ERR_LIMIT);
    assert_string_equal(out.data, "before 5");
    assert_int_equal(run("{% set x = l|join(' ') %}", NULL, &out, NULL, &e), ERR_LIMIT);
    assert_string_equal(out.data, "before 5");
    buf_deinit(&out);
}

/* --- lenient --- */

static void lenient_allows_what_the_sandbox_refuses(void **state)
{
    static const struct {
        const char *src, *want;
    } cases[] = {
        {"{% set x = [] %}{{ x.append(1) }}{% do x.append(2) %}{{ x }}", "None[1, 2]"},
        {"{% set x = [1, 2, 3] %}{{ x.pop() }}{{ x.pop(0) }}{{ x }}", "31[2]"},
        {"{% set x = [1] %}{% do x.extend(x) %}{% do x.insert(0, 9) %}{% do x.insert(-1, 8) %}{{ x }}",
         "[9, 1, 8, 1]"},
        {"{% set x = [3, 1, 2] %}{% do x.sort() %}{{ x }}{% do x.sort(reverse=true) %}{{ x }}",
         "[1, 2, 3][3, 2, 1]"},
        {"{% set x = [3, 1, 2] %}{% do x.reverse() %}{% do x.remove(1) %}{{ x }}{% do x.clear() %}{{ x }}",
         "[2, 3][]"},
        {"{% set d = {'a': 1} %}{% do d.update({'b': 2}, c=3) %}{{ d }}", "{'a': 1, 'b': 2, 'c': 3}"},
        {"{% set d = {'a': 1, 'b': 2} %}{{ d.pop('a') }}{{ d.pop('zz', 7) }}{{ d }}", "17{'b': 2}"},
        {"{% set d = {} %}{{ d.setdefault('k', 1) }}{{ d.setdefault('k', 2) }}{{ d.popitem() }}{{ d }}",
         "11('k', 1){}"},
        {"{% set d = {} %}{% for i in range(100) %}{% do d.update({i: i}) %}{% endfor %}{% for i in "
         "range(99) %}"
         "{% do d.pop(i) %}{% endfor %}{{ d }}{{ 99 in d }}{{ 5 in d }}",
         "{99: 99}TrueFalse"},
        {"{{ '{\"a\": [1, 2.5, null, \"x\"]}'|from_json }}", "{'a': [1, 2.5, None, 'x']}"},
        {"{{ '[1, 2]'|from_json|sum }}{{ '3'|from_json + 1 }}", "34"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf out = {0};
        struct error e = {0};
        status code = run(cases[i].src, &(struct jinja_options){.lenient = true}, &out, NULL, &e);
        if (code != OK) fail_msg("%s: %s", cases[i].src, e.msg);
        assert_string_equal(out.data, cases[i].want);
        buf_reset(&out);
        assert_int_equal(run(cases[i].src, NULL, &out, NULL, &e), ERR_ARG); /* refused without */
        buf_deinit(&out);
    }
}

/* --- threads --- */

enum { THREADS = 4, RENDERS = 200 };

struct job {
    pthread_t thread;
    const struct jinja *t;
    int id, bad;
};

static void *render_often(void *arg)
{
    struct job *j = arg;
    char want[64];
    snprintf(want, sizeof want, "[%d:%d]", j->id, j->id * 3);
    json_t *vars = json_pack("{s:i}", "id", j->id);
    for (int i = 0; i < RENDERS; i++) {
        struct buf out = {0};
        struct error e;
        j->bad += jinja_render(j->t, vars, NULL, &out, NULL, &e) != OK || strcmp(out.data, want) != 0;
        buf_deinit(&out);
    }
    json_decref(vars);
    return NULL;
}

static void threads_render_one_template_at_once(void **state)
{
    static const char src[] = "{% macro f(x) %}{{ x }}:{{ ns.n }}{% endmacro %}{% set ns = namespace(n=0) %}"
                              "{% for i in range(3) %}{% set ns.n = ns.n + id %}{% endfor %}[{{ f(id) }}]";
    struct job job[THREADS];
    struct jinja *t;
    struct error e;
    assert_int_equal(jinja_parse(&t, src, strlen(src), NULL, &e), OK);
    for (int i = 0; i < THREADS; i++) {
        job[i] = (struct job){.t = t, .id = i + 1};
        assert_int_equal(pthread_create(&job[i].thread, NULL, render_often, &job[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(job[i].thread, NULL);
        assert_int_equal(job[i].bad, 0);
    }
    jinja_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_template_that_wants_too_much_is_stopped),
        cmocka_unit_test(nesting_is_limited_when_parsing),
        cmocka_unit_test(long_chains_end_in_an_answer),
        cmocka_unit_test(errors_say_where_and_why),
        cmocka_unit_test(output_is_appended_and_a_failure_leaves_it),
        cmocka_unit_test(lenient_allows_what_the_sandbox_refuses),
        cmocka_unit_test(threads_render_one_template_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
