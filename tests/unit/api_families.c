/* Anthropic's, Ollama's and llama.cpp's APIs and POST /chat, with a scripted engine that thinks and calls
 * tools: what is refused and how, and answers whole and streamed. The chat template is the demo model's. */
#define CONTEXT_TOKENS 500
#include "support/api_server.h"

#define CALL   "<tool_call>\n{\"name\":\"w\",\"arguments\":{\"city\":\"Bonn\"}}\n</tool_call>"
#define THINK  "<think>\nhm\n</think>\n\n"
#define HI     "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"
#define A_TOOL "\"tools\":[{\"name\":\"w\",\"input_schema\":{\"type\":\"object\"}}]"
#define O_TOOL                                                                                               \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"w\",\"parameters\":{\"type\":\"object\"}}}]"

/* parts: what must be in the answer, in this order, '|' between them. */
static void check_parts(const char *what, const char *text, const char *parts)
{
    const char *at = text;
    char part[512];
    while (*parts) {
        size_t n = strcspn(parts, "|");
        snprintf(part, sizeof part, "%.*s", (int)n, parts);
        const char *found = strstr(at, part);
        if (!found) fail_msg("%s\n  has no '%s' where it should be:\n%s", what, part, text);
        at = found + strlen(part);
        parts += n + (parts[n] == '|');
    }
}

static void refusals(void **state)
{
    static const struct {
        const char *path, *body;
        int code;
        const char *parts;
    } rows[] = {
        {"/v1/messages", "{", 400,
         "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\"|line 1"},
        {"/v1/messages", "{}", 400, "'messages' is missing"},
        {"/v1/messages", "{\"model\":\"no\"," HI "}", 404, "not_found_error|'no'"},
        {"/v1/messages", "{\"max_tokens\":0," HI "}", 400, "max_tokens"},
        {"/v1/messages", "{\"system\":1," HI "}", 400, "system"},
        {"/v1/messages", "{\"tool_choice\":{\"type\":\"any\"}," HI "}", 400, "tools"},
        {"/v1/messages", "{\"tool_choice\":{\"type\":\"tool\",\"name\":\"x\"}," A_TOOL "," HI "}", 400,
         "'x'"},
        {"/v1/messages", "{\"tool_choice\":\"auto\"," A_TOOL "," HI "}", 400, "tool_choice"},
        {"/v1/messages",
         "{\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":50},\"max_tokens\":50," HI "}", 400,
         "budget_tokens|less than max_tokens"},
        {"/v1/messages", "{\"thinking\":{\"type\":\"maybe\"}," HI "}", 400, "thinking"},
        {"/v1/messages", "{\"mcp_servers\":[{\"url\":\"x\"}]," HI "}", 400, "mcp_servers"},
        {"/v1/messages", "{\"output_format\":{\"type\":\"json_schema\",\"schema\":5}," HI "}", 400, "schema"},
        {"/v1/messages",
         "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"url\"}}]}"
         "]}",
         400, "invalid_request_error|messages.0.content.0|text only"},
        {"/v1/messages/count_tokens", "{\"messages\":5}", 400, "messages"},

        {"/api/chat", "{" HI "}", 400, "{\"error\":\"'model' is missing"},
        {"/api/chat", "{\"model\":\"\"," HI "}", 400, "{\"error\":\"model is required\"}"},
        {"/api/chat", "{\"model\":\"nothing\"," HI "}", 404, "{\"error\":\"model 'nothing' not found"},
        {"/api/chat", "{\"model\":\"tiny\",\"options\":{\"temperature\":\"hot\"}," HI "}", 400,
         "temperature"},
        {"/api/chat", "{\"model\":\"tiny\",\"options\":{\"num_predict\":1.5}," HI "}", 400,
         "option \\\"num_predict\\\" must be of type integer"},
        {"/api/chat", "{\"model\":\"tiny\",\"keep_alive\":\"soon\"," HI "}", 400, "keep_alive"},
        {"/api/chat", "{\"model\":\"tiny\",\"think\":\"much\"," HI "}", 400, "think"},
        {"/api/chat", "{\"model\":\"tiny\",\"format\":\"xml\"," HI "}", 400, "JSON schema"},
        {"/api/chat",
         "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"\",\"images\":[\"aGk=\"]}]}",
         400, "text only"},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"x\",\"images\":[\"aGk=\"]}", 400, "text only"},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"x\",\"raw\":true,\"system\":\"y\"}", 400,
         "raw mode does not support"},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"x\",\"template\":\"{{ .Prompt }}\"}", 400,
         "template"},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"x\",\"context\":[999]}", 400, "context"},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"x\",\"suffix\":\"y\"}", 501, "cannot fill gaps"},
        {"/api/show", "{}", 400, "model is required"},
        {"/api/show", "{\"model\":\"no\"}", 404, "model 'no' not found"},
        {"/api/pull", "{\"model\":\"llama3\"}", 501, "{\"error\":\""},
        {"/api/create", "{}", 501, "corral serve"},

        {"/completion", "{}", 400, "{\"error\":{\"code\":400,\"message\":\"'prompt' is missing\""},
        {"/completion", "{\"prompt\":[]}", 400, "prompt"},
        {"/completion", "{\"prompt\":[5,\"x\",999]}", 400, "999"},
        {"/completion", "{\"prompt\":{\"prompt_string\":\"x\",\"multimodal_data\":[\"aa\"]}}", 400,
         "text only"},
        {"/completion", "{\"prompt\":\"x\",\"n_probs\":21}", 400, "n_probs"},
        {"/completion", "{\"prompt\":\"x\",\"grammar\":\"root ::= (\"}", 400, "gbnf"},
        {"/infill", "{\"input_prefix\":\"a\",\"input_suffix\":\"b\"}", 501, "not_supported_error"},
        {"/tokenize", "{\"content\":[1.5]}", 400, "content"},
        {"/detokenize", "{\"tokens\":[-1]}", 400, "tokens"},
        {"/apply-template", "{\"messages\":[]}", 400, "messages"},

        {"/api/embed", "{\"model\":\"tiny\",\"input\":5}", 400, "input"},
        {"/api/embed", "{\"model\":\"no\",\"input\":\"x\"}", 404, "model 'no' not found"},
        {"/embedding", "{}", 400, "'content' is missing"},

        {"/chat", "{}", 400, "'messages' or 'message'"},
        {"/chat", "{\"message\":\"x\",\"session_id\":\"a b\"}", 400, "session_id"},
        {"/chat", "{\"message\":\"x\",\"max_history\":0}", 400, "max_history"},
        {"/chat", "{\"message\":\"x\",\"n\":2}", 400, "'n'"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int code;
        char what[1024];
        const char *text = post(rows[i].path, rows[i].body, &code);
        snprintf(what, sizeof what, "%s %s: %d", rows[i].path, rows[i].body, code);
        if (code != rows[i].code) fail_msg("%s, want %d: %s", what, rows[i].code, text);
        check_parts(what, text, rows[i].parts);
    }
}

static void too_long(void **state)
{
    static const struct {
        const char *path, *format, *parts;
    } rows[] = {
        {"/v1/messages", "{\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}",
         "prompt is too long: |> 500 maximum"},
        {"/api/chat", "{\"model\":\"tiny\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}",
         "{\"error\":\"the prompt has |500"},
        {"/completion", "{\"prompt\":\"%s\"}",
         "exceed_context_size_error|\"n_prompt_tokens\":600,\"n_ctx\":500"},
    };
    char body[800], text[601];
    memset(text, 'x', 600);
    text[600] = 0;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int code;
        snprintf(body, sizeof body, rows[i].format, text);
        const char *answer_text = post(rows[i].path, body, &code);
        assert_int_equal(code, 400);
        check_parts(rows[i].path, answer_text, rows[i].parts);
    }
}

static void answers(void **state)
{
    static const struct {
        const char *path, *body, *reply, *parts;
    } rows[] = {
        {"/v1/messages", "{\"max_tokens\":50," HI "}", "Hello",
         "\"id\":\"msg_|\"type\":\"message\",\"role\":\"assistant\"|\"content\":[{\"type\":\"text\",\"text\":"
         "\"Hello\"}]|"
         "\"stop_reason\":\"end_turn\",\"stop_sequence\":null|\"output_tokens\":5,"},
        {"/v1/messages", "{\"stop_sequences\":[\"lo\"]," HI "}", "Hello",
         "\"text\":\"Hel\"|\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"lo\""},
        {"/v1/messages", "{\"max_tokens\":2," HI "}", "Hello",
         "\"text\":\"He\"|\"stop_reason\":\"max_tokens\""},
        {"/v1/messages", "{" A_TOOL "," HI "}", THINK "Look: " CALL,
         "[{\"type\":\"thinking\",\"thinking\":\"hm|\"signature\":\"\"},{\"type\":\"text\",\"text\":\"Look:|"
         "{\"type\":\"tool_use\",\"id\":\"|\"name\":\"w\",\"input\":{\"city\":\"Bonn\"}}]|\"stop_reason\":"
         "\"tool_use\""},
        {"/v1/messages", "{\"stream\":true," A_TOOL "," HI "}", THINK "Look: " CALL,
         "event: message_start\n|\"content\":[],\"stop_reason\":null|"
         "event: content_block_start\n|\"index\":0,\"content_block\":{\"type\":\"thinking\"|"
         "\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"|"
         "\"delta\":{\"type\":\"signature_delta\"|event: content_block_stop\ndata: |\"index\":0}|"
         "\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}|\"index\":1,\"delta\":{\"type\":"
         "\"text_delta\"|"
         "event: content_block_stop\n|\"index\":1}|"
         "\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"|\"name\":\"w\",\"input\":{}}|"
         "\"index\":2,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"|event: "
         "content_block_stop\n|"
         "event: message_delta\n|\"stop_reason\":\"tool_use\"|\"output_tokens\":|event: message_stop\n"},
        {"/v1/messages/count_tokens", "{\"system\":\"s\"," HI "}", "", "{\"input_tokens\":"},

        {"/api/chat", "{\"model\":\"TINY:latest\",\"stream\":false," HI "}", "Hello",
         "{\"model\":\"TINY:latest\",\"created_at\":\"20|Z\",\"message\":{\"role\":\"assistant\",\"content\":"
         "\"Hello\"}|"
         "\"done\":true,\"done_reason\":\"stop\"|\"total_duration\":|\"load_duration\":|\"prompt_eval_"
         "count\":|"
         "\"prompt_eval_duration\":|\"eval_count\":5|\"eval_duration\":"},
        {"/api/chat", "{\"model\":\"tiny\"," O_TOOL "," HI "}", THINK CALL,
         "\"thinking\":\"h|\"done\":false}\n{|\"tool_calls\":[{\"id\":\"|\"function\":{\"index\":0,\"name\":"
         "\"w\","
         "\"arguments\":{\"city\":\"Bonn\"}}}]}|\"done\":false}\n{|\"content\":\"\"},\"done\":true,\"done_"
         "reason\":\"stop\""},
        {"/api/chat", "{\"model\":\"tiny\",\"options\":{\"num_predict\":2}," HI "}", "Hello",
         "\"done_reason\":\"length\""},
        {"/api/chat", "{\"model\":\"tiny\",\"messages\":[]}", "",
         "\"content\":\"\"},\"done\":true,\"done_reason\":\"load\"}"},
        {"/api/chat", "{\"model\":\"tiny\",\"keep_alive\":0}", "", "\"done_reason\":\"unload\"}"},
        {"/api/chat", "{\"model\":\"tiny\",\"stream\":false,\"logprobs\":true,\"top_logprobs\":2," HI "}",
         "H", "\"logprobs\":[{\"token\":\"H\"|\"logprob\":-0.5|\"top_logprobs\":[{\"token\":\"H\""},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"Hi\",\"stream\":false}", "Hello",
         "\"response\":\"Hello\",\"done\":true|\"context\":[256,|,72,101,108,108,111]"},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"Hi\",\"raw\":true,\"stream\":false}", "Hello",
         "\"response\":\"Hello\"|\"context\":[72,105,72,101,108,108,111]"},
        {"/api/generate", "{\"model\":\"tiny\",\"prompt\":\"Hi\"}", "Hello",
         "\"response\":\"|\"done\":false}\n{|\"response\":\"\",\"done\":true"},
        {"/api/generate", "{\"model\":\"tiny\"}", "",
         "\"response\":\"\",\"done\":true,\"done_reason\":\"load\"}"},
        {"/api/show", "{\"name\":\"tiny\"}", "",
         "\"template\":\"{%|\"details\":{|\"family\":\"llama\"|\"model_info\":{|\"tokenizer.ggml.tokens\":"
         "null|"
         "\"capabilities\":[\"completion\",\"tools\",\"thinking\"]"},
        {"/api/show", "{\"model\":\"tiny\",\"verbose\":true}", "", "\"tokenizer.ggml.tokens\":[\""},

        {"/completion", "{\"prompt\":\"Hi\"}", "a\nb",
         "{\"index\":0,\"content\":\"a\\nb\",\"tokens\":[],|\"stop\":true,\"model\":\"tiny\",\"tokens_"
         "predicted\":3,"
         "\"tokens_evaluated\":2,\"generation_settings\":{|\"temperature\":0.8,|\"prompt\":\"Hi\",\"has_new_"
         "line\":true,"
         "\"truncated\":false,\"stop_type\":\"eos\",\"stopping_word\":\"\",\"tokens_cached\":5,\"timings\":"
         "{"},
        {"/completion", "{\"prompt\":\"Hi\",\"stop\":[\"lo\"],\"return_tokens\":true}", "Hello",
         "\"content\":\"Hel\",\"tokens\":[72,101,108,108,111]|\"stop_type\":\"word\",\"stopping_word\":"
         "\"lo\""},
        {"/completion", "{\"prompt\":\"Hi\",\"n_predict\":2}", "Hello",
         "\"content\":\"He\"|\"stop_type\":\"limit\""},
        {"/completion",
         "{\"prompt\":[72,\"i\"],\"response_fields\":[\"content\",\"generation_settings/n_predict\",\"x\"]}",
         "Yo", "{\"content\":\"Yo\",\"generation_settings/n_predict\":-1}"},
        {"/completion", "{\"prompt\":[\"a\",[98,\"c\"],{\"prompt_string\":\"d\"}]}", "Yo",
         "[{\"index\":0,|\"prompt\":\"a\"|{\"index\":1,|\"prompt\":\"bc\"|{\"index\":2,|\"prompt\":\"d\""},
        {"/completion", "{\"prompt\":\"Hi\",\"n_probs\":2}", "Y",
         "\"completion_probabilities\":[{\"id\":89,\"token\":\"Y\",\"bytes\":[89],\"logprob\":-0.5,\"top_"
         "logprobs\":["
         "{\"id\":89,|{\"id\":120,|\"logprob\":-9999"},
        {"/completion", "{\"prompt\":\"Hi\",\"n_probs\":1,\"post_sampling_probs\":true}", "Y",
         "\"prob\":0.60|\"top_probs\":["},
        {"/completion", "{\"prompt\":\"Hi\",\"stream\":true}", "Yo",
         "data: {\"index\":0,\"content\":\"|\"tokens\":[89|\"stop\":false|data: "
         "{\"index\":0,\"content\":\"\",\"tokens\":[],|"
         "\"stop\":true"},
        {"/tokenize", "{\"content\":\"a\\u00e9\",\"with_pieces\":true}", "",
         "{\"tokens\":[{\"id\":97,\"piece\":\"a\"},{\"id\":195,\"piece\":[195]},{\"id\":169,\"piece\":[169]}]"
         "}"},
        {"/tokenize", "{\"content\":[\"a\",98,\"<|im_end|>\"]}", "", "{\"tokens\":[97,98,257]}"},
        {"/tokenize", "{\"content\":\"<|im_end|>\",\"parse_special\":false}", "", "{\"tokens\":[60,124,105,"},
        {"/tokenize", "{}", "", "{\"tokens\":[]}"},
        {"/detokenize", "{\"tokens\":[72,105,257]}", "", "{\"content\":\"Hi<|im_end|>\"}"},
        {"/apply-template", "{" HI "}", "",
         "{\"prompt\":\"<|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\n\"}"},
        {"/apply-template", "{\"add_generation_prompt\":false," HI "}", "", "user\\nHi<|im_end|>\\n\"}"},

        {"/chat", "{\"message\":\"Hi\"}", "Hello",
         "{\"model\":\"tiny\",|\"message\":{\"role\":\"assistant\",\"content\":\"Hello\"},\"done\":true,"
         "\"finish_reason\":\"stop\",\"usage\":{\"prompt_tokens\":"},
        {"/chat", "{\"message\":\"Hi\",\"stream\":true," O_TOOL "}", "Look: " CALL,
         "data: {\"delta\":{\"content\":\"L|\"done\":false}\n\n|data: "
         "{\"delta\":{\"tool_calls\":[{\"index\":0,|"
         "\"arguments\":\"{\\\"city\\\":\\\"Bonn\\\"}\"|\"done\":false}\n\ndata: "
         "{\"delta\":{\"content\":\"\"},\"done\":true,"
         "\"finish_reason\":\"tool_calls\",\"usage\":{\"prompt_tokens\":|\"completion_tokens\":"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int code;
        before(NULL);
        script.reply = rows[i].reply;
        const char *text = post(rows[i].path, rows[i].body, &code);
        if (code != 200) fail_msg("%s %s: %d %s", rows[i].path, rows[i].body, code, text);
        check_parts(rows[i].body, text, rows[i].parts);
    }
}

/* What a request means to the engine. */
static void parameters(void **state)
{
    int code;
    post("/api/chat", "{\"model\":\"tiny\"," HI "}", &code);
    assert_true(script.params.temperature == 0.8f && script.params.top_k == 40 &&
                script.params.top_p == 0.9f);
    assert_int_equal(script.max_tokens, 0);
    post("/api/chat",
         "{\"model\":\"tiny\",\"options\":{\"num_predict\":7,\"temperature\":0,\"seed\":5,\"repeat_penalty\":"
         "1.5,"
         "\"num_ctx\":4096,\"num_gpu\":1,\"use_mmap\":true,\"use_mlock\":true}," HI "}",
         &code);
    assert_true(script.params.temperature == 0 && script.params.seed == 5 &&
                script.params.repeat_penalty == 1.5f);
    assert_int_equal(script.max_tokens, 7);
    assert_non_null(strstr(answer, "X-Corral-Ignored: options.num_ctx, options.use_mlock\r\n"));
    assert_int_equal(script.keep_alive_ns, 0);
    post("/api/generate", "{\"model\":\"tiny\",\"keep_alive\":\"1m30s\"}", &code);
    assert_int_equal(script.keep_alive_ns, (int64_t)90 * 1000000000);
    post("/v1/messages", "{" HI "}", &code);
    assert_int_equal(script.max_tokens, 4096);
    post("/completion", "{\"prompt\":\"x\",\"n_predict\":-1}", &code);
    assert_int_equal(script.max_tokens, 0);
    assert_true(script.params.min_p == 0.05f);
    /* An assistant's turn at the end is continued: no new turn is begun. */
    post(
        "/v1/messages",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\",\"content\":\"Yo\"}]}",
        &code);
    assert_int_equal(code, 200);
    assert_int_equal(script.prompt[script.n_prompt - 1], 'o');
    /* A context of before stands before the new turn. */
    post("/api/generate", "{\"model\":\"tiny\",\"prompt\":\"Hi\",\"context\":[65,66]}", &code);
    assert_true(script.prompt[0] == 65 && script.prompt[1] == 66 && script.prompt[2] == IM_START);
}

static void errors_while_streaming(void **state)
{
    static const struct {
        const char *path, *body, *parts;
    } rows[] = {
        {"/v1/messages", "{\"stream\":true," HI "}",
         "event: message_start\n|event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""},
        {"/api/chat", "{\"model\":\"tiny\"," HI "}",
         "\"done\":false}\n{\"error\":\"generation failed: |\"}\n"},
        {"/completion", "{\"stream\":true,\"prompt\":\"x\"}",
         "\"stop\":false|data: {\"error\":{\"code\":500,"},
        {"/chat", "{\"stream\":true,\"message\":\"x\"}", "\"done\":false}\n\n|data: {\"error\":{"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int code;
        before(NULL);
        script.fail_at = 3;
        script.token_ms = 150;
        const char *text = post(rows[i].path, rows[i].body, &code);
        assert_int_equal(code, 200);
        check_parts(rows[i].path, text, rows[i].parts);
    }
}

static void silence(void **state)
{
    int code;
    script.prefill_ms = 400; /* the interval is 60 ms */
    check_parts("ping", post("/v1/messages", "{\"stream\":true," HI "}", &code),
                "event: ping\ndata: {\"type\":\"ping\"}\n\n|event: message_start");
    check_parts("ping", post("/completion", "{\"stream\":true,\"prompt\":\"x\"}", &code), ":\n\ndata: ");
    const char *text = post("/api/chat", "{\"model\":\"tiny\"," HI "}", &code);
    assert_true(text[0] == '{'); /* nothing that is no JSON */
}

static void sessions(void **state)
{
    int code;
    char one[600];
    script.reply = "Hello";
    post("/chat", "{\"message\":\"A\",\"session_id\":\"s\"}", &code);
    uint32_t n_first = script.n_prompt;
    check_parts("second", post("/chat", "{\"message\":\"B\",\"session_id\":\"s\",\"stream\":true}", &code),
                "\"session_id\":\"s\",\"history\":3");
    assert_true(script.n_prompt > n_first);
    for (uint32_t i = 0; i < script.n_prompt; i++)
        one[i] = script.prompt[i] < 256 ? (char)script.prompt[i] : '#';
    one[script.n_prompt] = 0;
    check_parts("prompt", one, "user\nA#|assistant\nHello#|user\nB#|assistant\n");
    check_parts("others", post("/chat", "{\"message\":\"B\",\"session_id\":\"t\"}", &code), "\"history\":1");
    check_parts("short", post("/chat", "{\"message\":\"C\",\"session_id\":\"s\",\"max_history\":3}", &code),
                "\"history\":3");
    /* What failed is not remembered. */
    script.fail_at = 0;
    post("/chat", "{\"message\":\"D\",\"session_id\":\"s\"}", &code);
    assert_int_equal(code, 500);
    script.fail_at = -1;
    check_parts("after", post("/chat", "{\"message\":\"E\",\"session_id\":\"s\"}", &code), "\"history\":7");
}

static void pages(void **state)
{
    static const struct {
        const char *path, *parts;
    } rows[] = {
        {"/health",
         "{\"status\":\"healthy\",\"reason\":null,\"uptime_seconds\":|\"models_cached\":1|\"cuda_available\":"
         "false|"
         "\"servers\":[{\"id\":0|\"model_id\":\"tiny\",\"status\":\"running\"|\"gpu_pool_status\":{"
         "\"total_gpus\":0|\"gpu_list\":[]|\"allocation_strategy\":\"single-gpu-preferred\""},
        {"/livez", "ok"},
        {"/readyz", "ok"},
        {"/v1/health", "{\"status\":\"ok\"}"},
        {"/", "Ollama is running"},
        {"/api/version", "{\"version\":\"0."},
        {"/api/tags",
         "{\"models\":[{\"name\":\"tiny:latest\",\"model\":\"tiny:latest\",\"size\":|\"digest\":\"|"
         "\"details\":{|\"format\":\"gguf\"|\"modified_at\":\"20|\"name\":\"gpt-x:latest\""},
        {"/api/ps", "\"name\":\"tiny:latest\"|\"expires_at\":\"21|\"size_vram\":0,\"context_length\":500}]}"},
        {"/props",
         "{\"default_generation_settings\":{\"params\":{\"seed\":-1|\"n_ctx\":500},\"total_slots\":4|"
         "\"chat_template\":\"{%|\"supports_tools\":true|\"eos_token\":\"<|im_end|>\"|\"build_info\":\""},
        {"/slots", "[{\"id\":0,\"n_ctx\":500,\"speculative\":false,\"is_processing\":false},|{\"id\":3,"},
        {"/lora-adapters", "[]"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int code;
        char parts[1024];
        /* "<|im_end|>" has the sign that separates parts. */
        snprintf(parts, sizeof parts, "%s", rows[i].parts);
        char *eos = strstr(parts, "\"<|im_end|>\"|");
        if (eos) memmove(eos + 2, eos + 12, strlen(eos + 12) + 1);
        const char *text = hear(ask(rows[i].path, NULL), &code);
        assert_int_equal(code, 200);
        check_parts(rows[i].path, text, parts);
    }
}

static int setup(void **state)
{
    return setup_with("models/demo.gguf");
}

#define T(f) cmocka_unit_test_setup(f, before)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(refusals), T(too_long), T(answers), T(parameters), T(errors_while_streaming),
        T(silence),  T(sessions), T(pages)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
