/* Prometheus texts of several workers as one. */
#include "gateway/merge.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "# HELP a_total So many.\n# TYPE a_total counter\n"

// clang-format off
static const struct {
    const char *what;
    struct { const char *text, *labels; } in[3];
    const char *out;
} row[] = {
    {"nothing", {{"", ""}}, ""},
    {"one, as it is", {{HEAD "a_total 1\n", ""}}, HEAD "a_total 1\n"},
    {"a label where there was none", {{HEAD "a_total 1\n", "model=\"x\""}}, HEAD "a_total{model=\"x\"} 1\n"},
    {"a label beside others", {{HEAD "a_total{k=\"v\"} 1\n", "model=\"x\""}}, HEAD "a_total{k=\"v\",model=\"x\"} 1\n"},
    {"its own label stays", {{HEAD "a_total{model=\"own\"} 1\n", "model=\"x\",worker=\"2\""}},
     HEAD "a_total{model=\"own\",worker=\"2\"} 1\n"},
    {"no braces for nothing", {{HEAD "a_total{} 1\n", ""}}, HEAD "a_total{} 1\n"},
    {"empty braces", {{HEAD "a_total{} 1\n", "m=\"x\""}}, HEAD "a_total{m=\"x\"} 1\n"},
    {"a part of a name is another label", {{HEAD "a_total{the_model=\"y\"} 1\n", "model=\"x\""}},
     HEAD "a_total{the_model=\"y\",model=\"x\"} 1\n"},
    {"two workers, one head",
     {{HEAD "a_total 1\n", "w=\"1\""}, {HEAD "a_total 2\n", "w=\"2\""}}, HEAD "a_total{w=\"1\"} 1\na_total{w=\"2\"} 2\n"},
    {"families stay together",
     {{HEAD "a_total 1\n# HELP b x\n# TYPE b gauge\nb 3\n", "w=\"1\""}, {HEAD "a_total 2\n", "w=\"2\""}},
     HEAD "a_total{w=\"1\"} 1\na_total{w=\"2\"} 2\n# HELP b x\n# TYPE b gauge\nb{w=\"1\"} 3\n"},
    {"a histogram's samples are its family's",
     {{"# HELP h x\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 2\nh_count 1\n", "w=\"1\""}},
     "# HELP h x\n# TYPE h histogram\nh_bucket{le=\"+Inf\",w=\"1\"} 1\nh_sum{w=\"1\"} 2\nh_count{w=\"1\"} 1\n"},
    {"braces and quotes in a value", {{HEAD "a_total{k=\"}\\\" \"} 1\n", "w=\"1\""}}, HEAD "a_total{k=\"}\\\" \",w=\"1\"} 1\n"},
    {"a name in a value is no label", {{HEAD "a_total{k=\",w=\"} 1\n", "w=\"1\""}}, HEAD "a_total{k=\",w=\",w=\"1\"} 1\n"},
    {"a comma in our own value", {{HEAD "a_total 1\n", "m=\"a,b\",w=\"1\""}}, HEAD "a_total{m=\"a,b\",w=\"1\"} 1\n"},
    {"no newline at the end", {{HEAD "a_total 1", ""}}, HEAD "a_total 1\n"},
    {"what is no such text is left out", {{"stray 1\n" HEAD "a_total{k=\"\n# a remark\nnothing\n\na_total 5\n", ""}},
     HEAD "a_total 5\n"},
    {"labels that are none", {{HEAD "a_total{k} 1\na_total{k=v} 1\na_total{k=\"v\"x} 1\n", "w=\"1\""}}, HEAD},
    {"a timestamp stays", {{HEAD "a_total 1 1700000000\n", "w=\"1\""}}, HEAD "a_total{w=\"1\"} 1 1700000000\n"},
};
// clang-format on

static void merges(void **state)
{
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct merge *m = merge_new();
        struct buf out = {0};
        for (size_t k = 0; k < COUNT_OF(row[i].in) && row[i].in[k].text; k++)
            merge_add(m, row[i].in[k].text, strlen(row[i].in[k].text), row[i].in[k].labels);
        merge_write(m, &out);
        if (strcmp(out.data ? out.data : "", row[i].out) != 0)
            fail_msg("%s: '%s', not '%s'", row[i].what, out.data ? out.data : "", row[i].out);
        buf_deinit(&out);
        merge_free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(merges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
