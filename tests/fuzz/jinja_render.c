/* Any bytes as a template, with a small context: parsed and rendered under tight limits, it must end in text
 * or in an error. A first byte of 'L' makes the render lenient, so that lists and dicts can change under a
 * loop. */
#include <jansson.h>

#include "text/jinja/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char context[] = "{\"messages\": [{\"role\": \"system\", \"content\": \"Be terse.\"}, "
                              "{\"role\": \"user\", \"content\": \"H\xC3\xA9! \"},"
                              " {\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": "
                              "{\"name\": \"f\", \"arguments\": {\"a\": 1}}}]},"
                              " {\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"x\"}]}], "
                              "\"tools\": [{\"type\": \"function\"}],"
                              " \"n\": 3, \"f\": 2.5, \"t\": true, \"none\": null, \"s\": \" a,b "
                              "\\u65e5\\n\", \"l\": [3, 1, 2], \"d\": {\"b\": 1, \"a\": [2]}}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static json_t *vars;
    struct jinja_options o = {
        .limits = {.output_bytes = 1 << 16, .memory_bytes = 4 << 20, .steps = 200000, .depth = 200},
        .lenient = n && data[0] == 'L',
    };
    struct buf out = {0};
    struct jinja *t;
    struct error e;
    if (!vars) vars = json_loadb(context, sizeof context - 1, 0, NULL);
    ASSERT(vars);
    if (jinja_parse(&t, (const char *)data, n, NULL, &e) == OK) {
        bool ok = jinja_render(t, vars, &o, &out, NULL, &e) == OK;
        ASSERT(ok || (out.n == 0 && e.msg[0]));
        ASSERT(out.n <= 1 << 16);
    }
    jinja_free(t);
    buf_deinit(&out);
    return 0;
}
