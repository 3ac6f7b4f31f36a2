/* The text of /metrics: every line is of the format, every family is declared once and before its values,
 * histograms add up, and the numbers are those of the engine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct buf text;

static int setup(void **state)
{
    static struct engine_metrics m;
    engine_metrics_init(&m);
    m.n_submitted = 12;
    m.n_rejected = 3;
    m.n_running = 4;
    m.n_queued = 5;
    m.n_prompt_tokens = 1000;
    m.n_cached_tokens = 234;
    m.n_decode_tokens = 567;
    m.n_steps = 10;
    m.n_step_seqs = 35;
    m.n_draft_tokens = 1ull << 53;
    m.n_ended[FINISH_CONTEXT] = 2;
    m.n_ended[FINISH_LENGTH] = 1;
    m.kv = (struct kv_stats){
        .n_block = 100, .n_free = 60, .n_private = 10, .n_live = 15, .n_idle = 15, .hit_tokens = 77};
    for (int i = 0; i < 1000; i++) histogram_add(&m.ttft_s, i * 0.3);
    histogram_add(&m.prefill_s, 4);
    metrics_text(&text, &m, "a \"model\" of C:\\x\n", 7);
    return 0;
}

static int teardown(void **state)
{
    buf_deinit(&text);
    return 0;
}

static void these_lines_are_there(void **state)
{
    static const char *const line[] = {
        "# TYPE corral_requests_total counter",
        "corral_requests_total{model=\"a \\\"model\\\" of C:\\\\x\\n\"} 12",
        "vllm:num_requests_running{engine=\"0\",model_name=\"a \\\"model\\\" of C:\\\\x\\n\"} 4",
        "llamacpp:requests_processing 4",
        "llamacpp:requests_deferred 5",
        "llamacpp:prompt_tokens_total 1000",
        "llamacpp:prompt_tokens_seconds 250",
        "llamacpp:n_busy_slots_per_decode 3.5",
        "llamacpp:spec_decode_num_draft_tokens_total 9007199254740992",
        "vllm:prompt_tokens_total{engine=\"0\",model_name=\"a \\\"model\\\" of C:\\\\x\\n\"} 1234",
        "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"a \\\"model\\\" of C:\\\\x\\n\"} 0.25",
        "corral_kv_blocks{model=\"a \\\"model\\\" of C:\\\\x\\n\",state=\"idle\"} 15",
        "corral_requests_ended_total{model=\"a \\\"model\\\" of C:\\\\x\\n\",reason=\"context\"} 2",
        "vllm:request_success_total{engine=\"0\",model_name=\"a \\\"model\\\" of "
        "C:\\\\x\\n\",finished_reason=\"length\"} 3",
        "corral_http_connections 7",
    };
    for (size_t i = 0; i < COUNT_OF(line); i++) {
        char with_end[256];
        snprintf(with_end, sizeof with_end, "%s\n", line[i]);
        if (!strstr(text.data, with_end)) fail_msg("no line: %s", line[i]);
    }
}

static size_t name_length(const char *line)
{
    return strspn(line, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:");
}

/* Does name, of a line with a value, belong to the family that was declared last? */
static bool of_family(const char *name, size_t n, const char *family, bool histogram)
{
    static const char *const suffix[] = {"_bucket", "_sum", "_count"};
    size_t f = strlen(family);
    if (n < f || strncmp(name, family, f) != 0) return false;
    if (!histogram) return n == f;
    for (size_t i = 0; i < COUNT_OF(suffix); i++)
        if (n - f == strlen(suffix[i]) && !strncmp(name + f, suffix[i], n - f)) return true;
    return false;
}

static void the_format_holds(void **state)
{
    char family[128] = "", type[32] = "", seen[400][96];
    size_t n_seen = 0, n_value = 0;
    double before = 0, count = 0;
    for (char *line = text.data, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        assert_non_null(end);
        if (!strncmp(line, "# HELP ", 7)) continue;
        if (*line == '#') {
            assert_int_equal(sscanf(line, "# TYPE %127s %31s", family, type), 2);
            for (size_t i = 0; i < n_seen; i++)
                if (!strcmp(seen[i], family)) fail_msg("%s is declared twice", family);
            snprintf(seen[n_seen++], sizeof seen[0], "%.95s", family);
            before = 0;
            continue;
        }
        size_t n = name_length(line);
        if (!of_family(line, n, family, !strcmp(type, "histogram")))
            fail_msg("%.*s follows the declaration of %s", (int)n, line, family);
        char *value = end;
        while (value[-1] != ' ') value--;
        char *parsed;
        double x = strtod(value, &parsed);
        if (parsed != end || x < 0) fail_msg("not a value: %.*s", (int)(end - line), line);
        if (!strncmp(line + n - 7, "_bucket", 7)) {
            if (x < before) fail_msg("a bucket below the one before: %.*s", (int)(end - line), line);
            before = count = x;
        } else if (!strcmp(type, "histogram") && !strncmp(line + n - 6, "_count", 6) && x != count) {
            fail_msg("%s: +Inf has %g, count %g", family, count, x);
        }
        n_value++;
    }
    assert_true(n_seen > 50);
    assert_true(n_value > 300);
    assert_non_null(strstr(text.data, "corral_time_to_first_token_seconds_count{model="));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(these_lines_are_there),
        cmocka_unit_test(the_format_holds),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
