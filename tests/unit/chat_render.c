/* Conversations through real templates (shared/golden/templates): the bytes that Python's Jinja2 makes of
 * them, and what clients write never becomes control tokens. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "chat/chat.h"
#include "support/vocab_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

enum { MAX_SPECIAL = 200, MAX_LEN = 64 };

struct world {
    char folder[4000];
    json_t *all; /* templates_visible.json */
    struct tm now;
};

/* A template with a vocabulary in which all texts are control tokens that look like some. */
struct subject {
    const char *name;
    char special[MAX_SPECIAL][MAX_LEN];
    struct vocab_token tok[MAX_SPECIAL];
    size_t n_special;
    struct tokenizer *tok_made;
    struct chat_format *f;
};

static int setup(void **state)
{
    struct world *w = mem_zalloc(1, sizeof *w);
    const char *shared = getenv("CORRAL_SHARED");
    char path[4200];
    snprintf(w->folder, sizeof w->folder, "%s/golden/templates", shared ? shared : "../shared");
    snprintf(path, sizeof path, "%s/templates_visible.json", w->folder);
    w->all = json_load_file(path, 0, NULL);
    w->now = (struct tm){.tm_year = 126,
                         .tm_mon = 10,
                         .tm_mday = 21,
                         .tm_hour = 1,
                         .tm_min = 2,
                         .tm_sec = 3,
                         .tm_wday = 6,
                         .tm_yday = 324};
    log_set_level(LOG_ERROR);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    json_decref(w->all);
    free(w);
    return 0;
}

static void need_templates(const struct world *w)
{
    if (w->all) return;
    print_message("skipped: no templates in %s\n", w->folder);
    skip();
}

static void add_special(struct subject *s, const char *text, size_t n)
{
    if (n >= MAX_LEN || s->n_special == MAX_SPECIAL) return;
    for (size_t i = 0; i < s->n_special; i++)
        if (strlen(s->special[i]) == n && !memcmp(s->special[i], text, n)) return;
    memcpy(s->special[s->n_special], text, n);
    s->special[s->n_special][n] = 0;
    s->tok[s->n_special] = (struct vocab_token){s->special[s->n_special], TOK_CONTROL, 0};
    s->n_special++;
}

/* <|...|>, <...>, [...] without blanks and quotes. */
static void find_specials(struct subject *s, const char *text)
{
    for (const char *p = text; *p; p++) {
        char close = *p == '<' ? '>' : *p == '[' ? ']' : 0;
        size_t n = strcspn(p + 1, "<>[] \n\"'{}()+~=,") + 1;
        if (close && n > 2 && p[n] == close) add_special(s, p, n + 1);
    }
}

static void open_subject(const struct world *w, struct subject *s, const char *name)
{
    struct buf text = {0};
    struct error e;
    char path[4200];
    memset(s, 0, sizeof *s);
    s->name = name;
    snprintf(path, sizeof path, "%s/%s.jinja", w->folder, name);
    assert_int_equal(buf_read_file(&text, path, &e), OK);
    add_special(s, "<s>", 3);
    add_special(s, "</s>", 4);
    find_specials(s, text.data);
    struct vocab_spec spec = {.model = "gpt2",
                              .pre = "qwen2",
                              .tok = s->tok,
                              .n_tok = s->n_special,
                              .bos = 256,
                              .eos = 257,
                              .add_bos = 0,
                              .add_space = -1};
    if (vocab_make(&s->tok_made, &spec, &e) != OK) fail_msg("%s", e.msg);
    if (chat_format_new(&s->f, s->tok_made, text.data, text.n, &e) != OK) fail_msg("%s: %s", name, e.msg);
    buf_deinit(&text);
}

static void close_subject(struct subject *s)
{
    chat_format_free(s->f);
    tokenizer_free(s->tok_made);
}

/* --- the same bytes as Python --- */

/* Where work-arounds make something that the template alone does not, on purpose. */
static bool on_purpose(const char *name, const char *c, bool refused)
{
    static const char *const other[][2] = {
        {"*", ""}, /* the template alone refuses: any answer is better */
        /* tools are told by us, calls and results too where the template leaves them out */
        {"HuggingFaceTB-SmolLM3-3B", "tool"},
        {"deepseek-ai-DeepSeek-R1", "tool"},
        {"deepseek-ai-DeepSeek-V3.1", "tool"},
        {"google-gemma-2", "tool"},
        {"llama-cpp-deepseek-r1", "tool"},
        {"llama-cpp-rwkv-world", "tool"},
        {"microsoft-Phi-3.5", "tool"},
    };
    for (size_t i = 0; i < COUNT_OF(other); i++) {
        bool all = other[i][0][0] == '*';
        if (all ? refused
                : !strncmp(name, other[i][0], strlen(other[i][0])) &&
                      !strncmp(c, other[i][1], strlen(other[i][1])))
            return true;
    }
    return false;
}

static bool check_rendering(const struct world *w, const struct subject *s, const char *name,
                            const json_t *vars, const json_t *want)
{
    const json_t *expected = json_object_get(want, "text");
    struct chat_input in = {.messages = json_object_get(vars, "messages"),
                            .tools = json_object_get(vars, "tools"),
                            .answer = !json_is_false(json_object_get(vars, "add_generation_prompt")),
                            .now = &w->now};
    struct buf text = {0};
    struct tok_ids ids = {0};
    struct error e = {0};
    if (json_is_false(json_object_get(vars, "enable_thinking"))) in.think = CHAT_THINK_OFF;
    /* Both names of the switch are set by us; the reference was made with one. */
    json_t *kwargs = in.think ? json_pack("{s:b}", "enable_thinking", 0) : NULL;
    in.kwargs = kwargs;
    if (kwargs) in.think = CHAT_THINK_DEFAULT;
    status r = chat_encode(s->f, &in, &ids, &text, NULL, &e);
    bool ok = on_purpose(s->name, name, !expected)
                  ? r == OK
                  : r == OK && text.n == json_string_length(expected) &&
                        !memcmp(text.data, json_string_value(expected), text.n);
    if (!ok)
        print_error("%s, %s: %s\n got  %s\n want %s\n", s->name, name, e.msg, text.n ? text.data : "",
                    json_string_value(expected));
    struct buf back = {0}; /* the ids are those bytes */
    if (r == OK) tokenizer_decode(s->tok_made, ids.id, ids.n, true, &back);
    if (r == OK && (back.n != text.n || memcmp(back.data, text.data, text.n) != 0)) {
        print_error("%s, %s: ids are of another text\n %s\n %s\n", s->name, name, text.data, back.data);
        ok = false;
    }
    json_decref(kwargs);
    buf_deinit(&back);
    buf_deinit(&text);
    tok_ids_deinit(&ids);
    return ok;
}

static void conversations_render_as_python_does(void **state)
{
    struct world *w = *state;
    const char *name, *c;
    json_t *expected, *want;
    int bad = 0;
    need_templates(w);
    json_object_foreach(json_object_get(w->all, "expected"), name, expected)
    {
        struct subject s;
        open_subject(w, &s, name);
        json_object_foreach(expected, c, want) bad +=
            !check_rendering(w, &s, c, json_object_get(json_object_get(w->all, "cases"), c), want);
        close_subject(&s);
    }
    assert_int_equal(bad, 0);
}

/* --- an answer that the client began --- */

static const struct {
    const char *name, *reasoning, *content, *want; /* want: how the prompt ends */
    bool open;
} begun[] = {
    {"Qwen-Qwen2.5-7B-Instruct", NULL, "Once", "<|im_start|>assistant\nOnce", false},
    {"Qwen-Qwen3-0.6B", "hm", NULL, "<|im_start|>assistant\n<think>\nhm", true},
    {"Qwen-Qwen3-0.6B", "hm", "Once", "<|im_start|>assistant\n<think>\nhm\n</think>\n\nOnce", false},
    {"Qwen3.5-4B", NULL, "Once", "<think>\n\n</think>\n\nOnce", false},
    {"openai-gpt-oss-120b", NULL, "Once", "<|start|>assistant<|channel|>final<|message|>Once", false},
    {"openai-gpt-oss-120b", "hm", "Once",
     "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>Once", false},
    {"upstage-Solar-Open-100B", NULL, "Once", "<|begin|>assistant<|content|>Once", false},
};

static void answers_that_were_begun_are_continued(void **state)
{
    struct world *w = *state;
    need_templates(w);
    for (size_t i = 0; i < COUNT_OF(begun); i++) {
        struct subject s;
        struct buf text = {0};
        struct error e;
        bool open = false;
        json_t *m =
            json_pack("[{s:s,s:s},{s:s,s:s*,s:s*}]", "role", "user", "content", "Hi", "role", "assistant",
                      "reasoning_content", begun[i].reasoning, "content", begun[i].content);
        struct chat_input in = {.messages = m, .continue_last = true};
        open_subject(w, &s, begun[i].name);
        assert_int_equal(chat_encode(s.f, &in, NULL, &text, &open, &e), OK);
        size_t n = strlen(begun[i].want);
        if (text.n < n || strcmp(text.data + text.n - n, begun[i].want) != 0)
            fail_msg("%s: got %s\nwant ...%s", s.name, text.data, begun[i].want);
        assert_int_equal(open, begun[i].open);
        buf_deinit(&text);
        json_decref(m);
        close_subject(&s);
    }
}

/* --- formats of calls --- */

// clang-format off
static const char *const wires[][2] = {
    {"Apertus", "apertus"},
    {"Apriel-1.6", "apriel"},
    {"Bielik", "hermes"},
    {"ByteDance-Seed", "seed"},
    {"Cohere2MoE", "command-r7b"},
    {"CohereForAI-c4ai-command-r-plus", "command-r"},
    {"CohereForAI-c4ai-command-r7b", "command-r7b"},
    {"GLM-4.6", "glm"},
    {"GLM-4.7", "glm"},
    {"GigaChat3-10B", "gigachat3"},
    {"GigaChat3.1", "gigachat3.1"},
    {"HuggingFaceTB-SmolLM3", "hermes"},
    {"Kimi-K2", "kimi-k2"},
    {"Kimi-K3", "kimi-k3"},
    {"LFM2", "lfm2"},
    {"MiMo-VL", "hermes"},
    {"MiniMax-M1", "minimax-m1"},
    {"MiniMax-M2", "minimax-m2"},
    {"MiniMax-M3", "minimax-m3"},
    {"Mistral-Small-3.2", "mistral-small"},
    {"NVIDIA-Nemotron-3", "qwen3-coder"},
    {"NVIDIA-Nemotron-Nano-v2", "nemotron-v2"},
    {"NousResearch", "hermes"},
    {"Qwen-QwQ", "hermes"},
    {"Qwen-Qwen2.5", "hermes"},
    {"Qwen-Qwen3-0.6B", "hermes"},
    {"Qwen3-Coder", "qwen3-coder"},
    {"Qwen3.5", "qwen3-coder"},
    {"Reka-Edge", "hermes"},
    {"StepFun3.5", "qwen3-coder"},
    {"deepseek-ai-DeepSeek-R1-Distill-Qwen", "deepseek-r1"},
    {"deepseek-ai-DeepSeek-V3.1", "deepseek-v3.1"},
    {"deepseek-ai-DeepSeek-V3.2", "dsml"},
    {"deepseek-ai-DeepSeek-V4", "dsml-v4"},
    {"fireworks-ai", "firefunction"},
    {"google-gemma-2", "hermes"},
    {"google-gemma-4", "gemma4"},
    {"ibm-granite-granite-3.3", "granite3"},
    {"ibm-granite-granite-4", "hermes"},
    {"meetkai-functionary-medium-v3.1", "functionary-v3.1"},
    {"meetkai-functionary-medium-v3.2", "functionary-v3.2"},
    {"meta-llama", "llama3"},
    {"mistralai-Ministral", "mistral"},
    {"mistralai-Mistral-Nemo", "mistral-nemo"},
    {"moonshotai", "kimi-k2"},
    {"muse", "muse"},
    {"openai-gpt-oss", "harmony"},
    {"openbmb", "minicpm5"},
    {"poolside-Laguna", "glm"},
    {"tencent-Hy3", "hunyuan"},
    {"unsloth-Apriel", "apriel"},
    {"unsloth-mistral-Devstral", "mistral"},
    {"upstage-Solar", "solar"},
};
// clang-format on

static void formats_of_calls_are_found(void **state)
{
    struct world *w = *state;
    const char *name;
    json_t *expected;
    size_t n_found = 0;
    int bad = 0;
    need_templates(w);
    json_object_foreach(json_object_get(w->all, "expected"), name, expected)
    {
        struct subject s;
        open_subject(w, &s, name);
        const char *got = chat_format_caps(s.f)->wire->name;
        for (size_t i = 0; i < COUNT_OF(wires); i++) {
            if (strncmp(name, wires[i][0], strlen(wires[i][0])) != 0) continue;
            n_found++;
            if (!strcmp(got, wires[i][1])) continue;
            print_error("%s: got %s, want %s\n", name, got, wires[i][1]);
            bad++;
        }
        close_subject(&s);
    }
    assert_int_equal(bad, 0);
    assert_true(n_found >= COUNT_OF(wires));
}

/* --- control tokens --- */

/* A conversation whose every text is, or has in it, the payload. */
static json_t *conversation(const char *payload)
{
    json_t *m = json_pack(
        "[{s:s,s:s},{s:s,s:[{s:s,s:s},{s:s,s:s}]},{s:s,s:s,s:[{s:s,s:s,s:{s:s,s:{s:s}}}]},{s:s,s:s,s:s,s:s},"
        "{s:s,s:s},{s:s,s:s}]",
        "role", "system", "content", payload, "role", "user", "content", "type", "text", "text", payload,
        "type", "text", "text", payload, "role", "assistant", "content", payload, "tool_calls", "id",
        "idWord700", "type", "function", "function", "name", "get", "arguments", "key", payload, "role",
        "tool", "tool_call_id", "idWord700", "name", "get", "content", payload, "role", "assistant",
        "content", payload, "role", "user", "content", payload);
    assert_non_null(m);
    return m;
}

static json_t *tool_list(const char *payload)
{
    json_t *t = json_pack("[{s:s,s:{s:s,s:s,s:{s:s,s:{s:{s:s,s:s}},s:[s]}}}]", "type", "function", "function",
                          "name", "get", "description", payload, "parameters", "type", "object", "properties",
                          "key", "type", "string", "description", payload, "required", "key");
    assert_non_null(t);
    return t;
}

/* The control tokens of the prompt, in order. */
static status controls(const struct subject *s, const char *payload, const char *last, struct tok_ids *out,
                       struct error *e)
{
    json_t *m = conversation(payload), *t = tool_list(payload);
    struct tok_ids ids = {0};
    struct buf text = {0}, back = {0};
    struct chat_input in = {.messages = m, .tools = t, .answer = !last, .continue_last = last != NULL};
    if (last) json_array_append_new(m, json_pack("{s:s,s:s}", "role", "assistant", "content", last));
    status r = chat_encode(s->f, &in, &ids, &text, NULL, e);
    for (size_t i = 0; i < ids.n; i++)
        if (tokenizer_attr(s->tok_made, ids.id[i]) == TOK_CONTROL) tok_ids_add(out, ids.id[i]);
    tokenizer_decode(s->tok_made, ids.id, ids.n, true, &back);
    if (r == OK) assert_int_equal(back.n, text.n);
    if (r == OK && strstr(text.data, "hostile") == NULL && strstr(payload, "hostile"))
        fail_msg("%s: the text is lost", s->name);
    buf_deinit(&text);
    buf_deinit(&back);
    tok_ids_deinit(&ids);
    json_decref(m);
    json_decref(t);
    return r;
}

static int compare_controls(const struct subject *s, const char *hostile, const char *what)
{
    struct tok_ids want = {0}, got = {0};
    struct error e = {0};
    int bad = 0;
    if (controls(s, "harmless", "harmless", &want, &e) != OK) {
        print_error("%s: %s\n", s->name, e.msg);
        return 1;
    }
    status r = controls(s, hostile, hostile, &got, &e);
    bool refused = r == ERR_ARG; /* the template's own right */
    if (!refused && (r != OK || got.n != want.n || memcmp(got.id, want.id, got.n * sizeof *got.id) != 0)) {
        print_error("%s, %s: %zu control tokens, want %zu %s\n", s->name, what, got.n, want.n,
                    r ? e.msg : "");
        bad = 1;
    }
    tok_ids_deinit(&want);
    tok_ids_deinit(&got);
    return bad;
}

/* All of the vocabulary's control tokens in a row; the same in halves that meet; and with the template's own
 * signs of reasoning, at which many templates look, left out. */
static int attack(const struct subject *s)
{
    struct buf whole = {0}, halves = {0};
    int bad = 0;
    buf_adds(&whole, "hostile ");
    for (size_t i = 0; i < s->n_special; i++) {
        if (strstr(s->special[i], "hink")) continue;
        buf_addf(&whole, "%s", s->special[i]);
    }
    buf_adds(&whole, " hostile");
    bad += compare_controls(s, whole.data, "all tokens");
    /* "im_end|>hostile<|": where two texts meet, the end of one and the beginning of the next are a token. */
    for (size_t i = 0; i < s->n_special; i++) {
        size_t n = strlen(s->special[i]), cut = n / 2;
        if (strstr(s->special[i], "hink")) continue;
        while ((s->special[i][cut] & 0xC0) == 0x80) cut++;
        buf_reset(&halves);
        buf_addf(&halves, "%shostile%.*s", s->special[i] + cut, (int)cut, s->special[i]);
        bad += compare_controls(s, halves.data, s->special[i]);
        if (bad) break;
    }
    buf_deinit(&whole);
    buf_deinit(&halves);
    return bad;
}

static void clients_write_no_control_tokens(void **state)
{
    struct world *w = *state;
    const char *name;
    json_t *expected;
    int bad = 0;
    need_templates(w);
    json_object_foreach(json_object_get(w->all, "expected"), name, expected)
    {
        struct subject s;
        open_subject(w, &s, name);
        bad += attack(&s);
        close_subject(&s);
    }
    assert_int_equal(bad, 0);
}

/* What a client may send as a template takes no longer to look at than a second or two. */
static void templates_that_take_long(void **state)
{
    static const char *const hostile[] = {
        "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
        "{% set a = namespace(x='a') %}{% for i in range(60) %}{% set a.x = a.x + a.x %}{% endfor %}",
        "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    };
    for (size_t i = 0; i < COUNT_OF(hostile); i++) {
        struct chat_format *f;
        struct error e;
        clock_t from = clock();
        assert_int_equal(chat_format_new(&f, NULL, hostile[i], strlen(hostile[i]), &e), OK);
        double seconds = (double)(clock() - from) / CLOCKS_PER_SEC;
        if (seconds > 3) fail_msg("%s: %.1f s", hostile[i], seconds);
        chat_format_free(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversations_render_as_python_does),
        cmocka_unit_test(answers_that_were_begun_are_continued),
        cmocka_unit_test(formats_of_calls_are_found),
        cmocka_unit_test(clients_write_no_control_tokens),
        cmocka_unit_test(templates_that_take_long),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
