/* Which family a path belongs to, and what its errors look like: the gateway and src/http use both. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "api/family.h"

#include <cmocka.h> /* last: it defines a macro fail() */

static void paths_have_families(void **state)
{
    static const struct {
        const char *path;
        enum api_family family;
    } cases[] = {
        {"", FAMILY_OPENAI},
        {"/", FAMILY_OPENAI},
        {"/v1/chat/completions", FAMILY_OPENAI},
        {"/v1/completions", FAMILY_OPENAI},
        {"/completions", FAMILY_LLAMACPP},
        {"/completion?x=/api/chat", FAMILY_LLAMACPP},
        {"/completionist", FAMILY_OPENAI},
        {"/slots/3", FAMILY_LLAMACPP},
        {"/api/chat", FAMILY_OLLAMA},
        {"/api", FAMILY_OLLAMA},
        {"/apiary", FAMILY_OPENAI},
        {"/v1/messages", FAMILY_ANTHROPIC},
        {"/v1/messages/count_tokens", FAMILY_ANTHROPIC},
        {"/v1/responses/resp_1", FAMILY_RESPONSES},
        {"/chat", FAMILY_OPENAI},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        if (family_of_path(cases[i].path) != cases[i].family)
            fail_msg("%s: family %d", cases[i].path, (int)family_of_path(cases[i].path));
}

static void errors_have_their_familys_shape(void **state)
{
    static const struct {
        const char *path;
        int code;
        const char *body;
    } cases[] = {
        {"/v1/models", 401,
         "{\"error\":{\"message\":\"a \\\"b\\\"\",\"type\":\"authentication_error\",\"param\":null,"
         "\"code\":\"invalid_api_key\"}}"},
        {"/v1/models", 405,
         "{\"error\":{\"message\":\"a \\\"b\\\"\",\"type\":\"invalid_request_error\",\"param\":null,"
         "\"code\":null}}"},
        {"/v1/messages", 401,
         "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"a \\\"b\\\"\"}}"},
        {"/v1/messages", 413,
         "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"a \\\"b\\\"\"}}"},
        {"/v1/messages", 503,
         "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"a \\\"b\\\"\"}}"},
        {"/v1/messages", 502,
         "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"a \\\"b\\\"\"}}"},
        {"/api/chat", 503, "{\"error\":\"a \\\"b\\\"\"}"},
        {"/infill", 503,
         "{\"error\":{\"code\":503,\"message\":\"a \\\"b\\\"\",\"type\":\"unavailable_error\"}}"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b = {0};
        assert_string_equal(api_render_error(cases[i].path, cases[i].code, "a \"b\"", &b),
                            "application/json");
        if (strcmp(b.data, cases[i].body) != 0) fail_msg("%s %d: %s", cases[i].path, cases[i].code, b.data);
        buf_deinit(&b);
    }
}

static void events_are_framed(void **state)
{
    static const struct {
        enum api_family family;
        const char *begin, *end;
    } cases[] = {
        {FAMILY_OPENAI, "data: {\"error\":{", "}}\n\n"},
        {FAMILY_RESPONSES, "event: error\ndata: {\"type\":\"error\",\"code\":\"gone\",\"message\":\"m\"",
         "}}\n\n"},
        {FAMILY_ANTHROPIC, "event: error\ndata: {\"type\":\"error\",", "}}\n\n"},
        {FAMILY_OLLAMA, "{\"error\":\"m\"}", "\n"},
        {FAMILY_LLAMACPP, "data: {\"error\":{\"code\":500", "}}\n\n"},
    };
    struct fault f;
    refuse(&f, 500, "gone", NULL, "m");
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct buf b = {0};
        fault_write_event(&f, cases[i].family, 7, &b);
        size_t n = strlen(cases[i].end);
        char *json = strchr(b.data, '{');
        json_t *v = json_loadb(json, strlen(json) - n + strcspn(cases[i].end, "\n"), 0, NULL);
        if (strncmp(b.data, cases[i].begin, strlen(cases[i].begin)) != 0 || b.n < n || !v ||
            strcmp(b.data + b.n - n, cases[i].end) != 0)
            fail_msg("family %zu: %s", i, b.data);
        if (cases[i].family == FAMILY_RESPONSES)
            assert_int_equal(json_integer_value(json_object_get(v, "sequence_number")), 7);
        json_decref(v);
        buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_have_families),
        cmocka_unit_test(errors_have_their_familys_shape),
        cmocka_unit_test(events_are_framed),
    };
    return cmocka_run_group_tests_name("api_family", tests, NULL, NULL);
}
