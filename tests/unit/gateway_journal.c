/* What of a streamed answer goes out, and what is known to go on: the same however the bytes are cut. */
#include "gateway/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD ": corral {\"id\":\"x\",\"created\":5,\"seed\":7}\n\n"

static const struct {
    const char *what;
    bool lines, kept;
    const char *in, *out, *rest; /* given out as it comes; at the end, when it is whole */
    const char *journal;         /* NULL: it cannot go on */
} row[] = {
    {"frames without a journal", false, false, "data: 1\n\ndata: 2\n\nda", "data: 1\n\ndata: 2\n\n", "da",
     NULL},
    {"half a frame is kept back", false, false, "event: a\ndata: 1\n", "", "event: a\ndata: 1\n", NULL},
    {"lines without one", true, false, "{1}\n{2}\n{3", "{1}\n{2}\n", "{3", NULL},
    {"up to the journal", false, true, HEAD "data: 1\n\n: corral {\"t\":[[0,[1,2]]]}\n\ndata: 2\n\n",
     "data: 1\n\n", "data: 2\n\n", "{\"id\":\"x\",\"created\":5,\"seed\":7,\"t\":[[0,[1,2]]]}"},
    {"several frames of one flush", false, true,
     HEAD "event: a\ndata: 1\n\nevent: b\ndata: 2\n\n: corral {\"t\":[[0,[1]]]}\n\n",
     "event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", "",
     "{\"id\":\"x\",\"created\":5,\"seed\":7,\"t\":[[0,[1]]]}"},
    {"choices merge", false, true,
     HEAD "data: 1\n\n: corral {\"t\":[[1,[9]],[0,[1]]]}\n\ndata: 2\n\n: corral {\"t\":[[0,[2]],[1,[]]]}\n\n",
     "data: 1\n\ndata: 2\n\n", "", "{\"id\":\"x\",\"created\":5,\"seed\":7,\"t\":[[0,[1,2]],[1,[9]]]}"},
    {"half a line of the journal is none", false, true, HEAD "data: 1\n\n: corral {\"t\":[[0,[1]]", "",
     "data: 1\n\n: corral {\"t\":[[0,[1]]", "{\"id\":\"x\",\"created\":5,\"seed\":7,\"t\":[]}"},
    {"a comment does not wait", false, true, HEAD ": waiting\n\n", ": waiting\n\n", "",
     "{\"id\":\"x\",\"created\":5,\"seed\":7,\"t\":[]}"},
    {"a comment behind a frame does", false, true, HEAD "data: 1\n\n: waiting\n\n", "",
     "data: 1\n\n: waiting\n\n", "{\"id\":\"x\",\"created\":5,\"seed\":7,\"t\":[]}"},
    {"lines with one", true, true, ": corral {\"id\":\"x\"}\n{1}\n: corral {\"t\":[[0,[3]]]}\n{2}\n", "{1}\n",
     "{2}\n", "{\"id\":\"x\",\"t\":[[0,[3]]]}"},
    {"the last value counts", false, true, HEAD ": corral {\"n\":1}\n\n: corral {\"n\":2}\n\n", "", "",
     "{\"id\":\"x\",\"created\":5,\"seed\":7,\"n\":2,\"t\":[]}"},
    {"whole", false, true, HEAD "data: 1\n\n: corral {\"end\":true}\n\n", "data: 1\n\n", "", NULL},
    {"no journal came", false, true, "data: 1\n\n: corral {}\n\ndata: 2\n\n", "data: 1\n\ndata: 2\n\n", "",
     NULL},
    {"a broken one", false, true, HEAD ": corral {\"t\":[[0,[-1]]]}\n\ndata: 2\n\n", "data: 2\n\n", "", NULL},
    {"no JSON", false, true, ": corral nonsense\n\ndata: 2\n\n", "data: 2\n\n", "", NULL},
    {"a choice that cannot be", false, true, ": corral {\"t\":[[99999999,[1]]]}\n\n", "", "", NULL},
    {"what only looks like it", false, false, "data: : corral {}\n\n", "data: : corral {}\n\n", "", NULL},
};

static void feed(struct journal *j, const char *in, size_t step, struct buf *out)
{
    size_t n = strlen(in);
    for (size_t at = 0; at < n; at += step) journal_feed(j, in + at, MIN(step, n - at), out);
}

static void check(size_t i, size_t step)
{
    struct journal j;
    struct buf out = {0}, text = {0};
    journal_init(&j, row[i].lines);
    j.kept = row[i].kept;
    feed(&j, row[i].in, step, &out);
    const char *got = out.data ? out.data : "";
    if (strcmp(got, row[i].out) != 0) fail_msg("%s, in pieces of %zu: '%s'", row[i].what, step, got);
    assert_int_equal(journal_resumes(&j), row[i].journal != NULL);
    if (row[i].journal) {
        journal_write(&j, &text);
        assert_string_equal(text.data, row[i].journal);
    }
    buf_reset(&out);
    journal_finish(&j, &out);
    assert_string_equal(out.data ? out.data : "", row[i].rest);
    journal_deinit(&j);
    buf_deinit(&out);
    buf_deinit(&text);
}

static void however_it_is_cut(void **state)
{
    for (size_t i = 0; i < COUNT_OF(row); i++)
        for (size_t step = 1; step <= 200; step = step < 20 ? step + 1 : step * 3) check(i, step);
}

/* Cut anywhere and gone on from the journal by a worker that begins behind it, the client has the same bytes.
 */
static void going_on_is_seamless(void **state)
{
    static const char whole[] =
        HEAD "data: 1\n\n: corral {\"t\":[[0,[1]]]}\n\ndata: 2\n\n: corral {\"t\":[[0,[2]]]}\n\n"
             "data: [DONE]\n\n: corral {\"end\":true}\n\n";
    static const char want[] = "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n";
    static const char *const after[] = {
        HEAD "data: 1\n\n: corral {\"t\":[[0,[1]]]}\n\ndata: 2\n\n: corral {\"t\":[[0,[2]]]}"
             "\n\ndata: [DONE]\n\n: corral {\"end\":true}\n\n",
        "data: 2\n\n: corral {\"t\":[[0,[2]]]}\n\ndata: [DONE]\n\n: corral {\"end\":true}\n\n",
        "data: [DONE]\n\n: corral {\"end\":true}\n\n"};
    for (size_t cut = 0; cut < sizeof whole; cut++) {
        struct journal j;
        struct buf out = {0};
        journal_init(&j, false);
        j.kept = true;
        journal_feed(&j, whole, cut, &out);
        journal_cut(&j);
        if (!j.ended) feed(&j, after[j.n_token], 7, &out);
        journal_finish(&j, &out);
        assert_string_equal(out.data, want);
        assert_int_equal(j.n_token, 2);
        journal_deinit(&j);
        buf_deinit(&out);
    }
}

static void endless_answers_are_bounded(void **state)
{
    struct journal j;
    struct buf out = {0};
    journal_init(&j, false);
    j.kept = true;
    char piece[4096];
    journal_feed(&j, HEAD, sizeof HEAD - 1, &out);
    memset(piece, 'x', sizeof piece);
    memcpy(piece, "data: ", 6);
    piece[sizeof piece - 1] = piece[sizeof piece - 2] = '\n';
    for (int i = 0; i < 2048; i++) journal_feed(&j, piece, sizeof piece, &out);
    assert_true(j.lost && !journal_resumes(&j));
    assert_int_equal(out.n, 2048 * sizeof piece);
    assert_true(j.pending.n < sizeof piece);
    journal_deinit(&j);
    buf_deinit(&out);
}

static void numbers_of_events_are_known(void **state)
{
    struct journal j;
    struct buf out = {0};
    journal_init(&j, false);
    static const char in[] = "event: response.created\ndata: {\"sequence_number\":0}\n\n"
                             "event: response.x\ndata: {\"a\":1,\"sequence_number\":41}\n\n";
    journal_feed(&j, in, sizeof in - 1, &out);
    assert_int_equal(j.sequence, 41);
    journal_deinit(&j);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(however_it_is_cut), cmocka_unit_test(going_on_is_seamless),
        cmocka_unit_test(endless_answers_are_bounded), cmocka_unit_test(numbers_of_events_are_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
