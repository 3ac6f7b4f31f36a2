/* Items of Responses' input as messages, and its tools as chat's: what they become, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/responses.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static void items_become_messages(void **state)
{
    static const struct {
        const char *input, *messages, *refused; /* one of the two */
    } cases[] = {
        {"\"Hi\"", "[{\"role\":\"user\",\"content\":\"Hi\"}]", NULL},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"},{\"type\":\"input_text\","
         "\"text\":\"b\"}]}]",
         "[{\"role\":\"user\",\"content\":\"ab\"}]", NULL},
        {"[{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":"
         "\"a\",\"annotations\":[]}]}]",
         "[{\"role\":\"assistant\",\"content\":\"a\"}]", NULL},
        /* Calls of one turn are one message; results follow. */
        {"[{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"},"
         "{\"type\":\"function_call\",\"call_id\":\"2\",\"name\":\"g\",\"arguments\":\"{}\"},"
         "{\"type\":\"function_call_output\",\"call_id\":\"1\",\"output\":\"r\"}]",
         "[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":["
         "{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},"
         "{\"id\":\"2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"{}\"}}]},"
         "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"r\"}]",
         NULL},
        /* Reasoning belongs to the message, or the call, that it led to. */
        {"[{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"hm\"}]"
         "},"
         "{\"role\":\"assistant\",\"content\":\"a\"}]",
         "[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"hm\"}]", NULL},
        {"[{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"hm\"}]"
         "},"
         "{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"}]",
         "[{\"role\":\"assistant\",\"content\":null,\"reasoning_content\":\"hm\",\"tool_calls\":["
         "{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}]",
         NULL},
        {"[{\"type\":\"reasoning\",\"summary\":[{\"type\":\"summary_text\",\"text\":\"s\"}]},{\"role\":"
         "\"user\",\"content\":\"a\"}]",
         "[{\"role\":\"user\",\"content\":\"a\"}]", NULL},
        {"5", NULL, "a string or an array"},
        {"[5]", NULL, "'input[0]' must be an object"},
        {"[{\"content\":\"a\"}]", NULL, "must have a role"},
        {"[{\"role\":\"user\"}]", NULL, "must have content"},
        {"[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\",\"image_url\":\"x\"}]}]", NULL,
         "'input_image'"},
        {"[{\"role\":\"user\",\"content\":\"a\"},{\"type\":\"function_call\",\"name\":\"f\"}]", NULL,
         "'input[1]' must have name"},
        {"[{\"type\":\"function_call_output\",\"output\":\"r\"}]", NULL, "call_id"},
        {"[{\"type\":\"web_search_call\"}]", NULL, "'web_search_call'"},
        {"[{\"type\":\"item_reference\",\"id\":\"x\"}]", NULL, "'item_reference'"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct request r = {0};
        struct fault f = {0};
        struct parse p = {NULL, &r, &f, false};
        json_error_t je;
        json_t *input = json_loads(cases[i].input, JSON_DECODE_ANY, &je), *out = json_array();
        if (!input) fail_msg("%s: %s", cases[i].input, je.text);
        bool ok = responses_messages(&p, input, out);
        if (ok != !cases[i].refused) fail_msg("%s: %s", cases[i].input, f.msg);
        if (ok) {
            json_t *want = json_loads(cases[i].messages, 0, &je);
            char *got = json_dumps(out, JSON_COMPACT);
            if (!want || !json_equal(want, out)) fail_msg("%s: %s", cases[i].input, got);
            free(got);
            json_decref(want);
        } else if (!strstr(f.msg, cases[i].refused) || f.code != 400) {
            fail_msg("%s: %d %s", cases[i].input, f.code, f.msg);
        }
        json_decref(input);
        json_decref(out);
    }
}

static void tools_are_flat(void **state)
{
    struct request r = {0};
    struct fault f = {0};
    struct parse p = {NULL, &r, &f, false};
    json_t *flat = json_loads(
        "[{\"type\":\"function\",\"name\":\"f\",\"strict\":true,\"parameters\":{\"type\":\"object\"}}]", 0,
        NULL);
    json_t *want = json_loads("[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true,"
                              "\"parameters\":{\"type\":\"object\"}}}]",
                              0, NULL);
    json_t *got = responses_tools(&p, flat);
    assert_true(got && json_equal(got, want));
    json_decref(got);
    json_decref(want);
    json_decref(flat);
    flat = json_loads("[{\"type\":\"web_search\"}]", 0, NULL);
    assert_null(responses_tools(&p, flat));
    assert_non_null(strstr(f.msg, "'web_search'"));
    json_decref(flat);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(items_become_messages),
                                       cmocka_unit_test(tools_are_flat)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
