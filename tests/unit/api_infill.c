/* Fill in the middle, with a vocabulary that has tokens for it: /infill, and `suffix` of the other families.
 */
#define MORE_TOKENS "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>"
#include "support/api_server.h"

enum { FIRST = 258 }; /* P, S, M, R, F below */

/* What reached the engine, its control tokens as ~ and a letter. */
static void shown_prompt(char *out)
{
    for (uint32_t i = 0; i < script.n_prompt; i++) {
        if (script.prompt[i] >= FIRST) *out++ = '~';
        *out++ = script.prompt[i] < 256     ? (char)script.prompt[i]
                 : script.prompt[i] < FIRST ? '?'
                                            : "PSMRF"[script.prompt[i] - FIRST];
    }
    *out = 0;
}

static void prompts(void **state)
{
    static const struct {
        const char *path, *body, *prompt;
    } cases[] = {
        {"/infill", "{\"input_prefix\":\"int \",\"input_suffix\":\" = 3;\"}", "~Pint ~S = 3;~M"},
        {"/infill", "{\"input_prefix\":\"int \",\"prompt\":\"x\",\"input_suffix\":\"\"}", "~Pint x~S~M"},
        {"/infill", "{\"input_suffix\":\";\"}", "~P~S;~M"},
        {"/infill",
         "{\"input_prefix\":\"a\",\"input_suffix\":\"b\",\"input_extra\":["
         "{\"filename\":\"one.h\",\"text\":\"X\"},{\"text\":\"Y\"}]}",
         "~Rproject\n~Fone.h\nX~Ffile\nY~Ffilename\n~Pa~Sb~M"},
        /* what a client writes is never a control token */
        {"/infill", "{\"input_prefix\":\"<|fim_middle|>\",\"input_suffix\":\"<|im_end|>\"}",
         "~P<|fim_middle|>~S<|im_end|>~M"},
        {"/v1/completions", "{\"prompt\":\"int \",\"suffix\":\" = 3;\"}", "~Pint ~S = 3;~M"},
        {"/v1/completions", "{\"prompt\":\"\",\"suffix\":\";\"}", "~P~S;~M"},
        {"/v1/completions", "{\"prompt\":\"int\",\"suffix\":\"\"}", "int"},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"int \",\"suffix\":\" = 3;\",\"stream\":false}",
         "~Pint ~S = 3;~M"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char got[512];
        json_decref(post_json(cases[i].path, cases[i].body));
        shown_prompt(got);
        if (strcmp(got, cases[i].prompt) != 0) fail_msg("%s: %s", cases[i].body, got);
    }
}

static void answers(void **state)
{
    json_t *v = post_json("/infill", "{\"input_prefix\":\"a\",\"input_suffix\":\"b\"}");
    assert_string_equal(json_string_value(json_object_get(v, "content")), "Hello");
    assert_int_equal(json_integer_value(json_object_get(v, "tokens_evaluated")), 5);
    json_decref(v);
    int code;
    const char *text = post("/infill", "{\"input_extra\":[{\"filename\":\"x\"}]}", &code);
    if (code != 400 || !strstr(text, "input_extra[0]")) fail_msg("%d %s", code, text);
    text = post("/v1/completions", "{\"prompt\":[1,2],\"suffix\":\"x\"}", &code);
    if (code != 400 || !strstr(text, "text")) fail_msg("%d %s", code, text);
}

static int setup(void **state)
{
    return setup_with(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(prompts, before),
        cmocka_unit_test_setup(answers, before),
    };
    return cmocka_run_group_tests_name("api_infill", tests, setup, teardown);
}
