/* The GGUF writer: what it writes reads back the same; what is wrong is refused; split files open as one. */
#include <sys/stat.h>
#include <unistd.h>

#include "support/gguf_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

static char dir[64];

static int make_dir(void **state)
{
    snprintf(dir, sizeof dir, "/tmp/corral-format-XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf -- '%s'", dir);
    return system(command);
}

static const char *in_dir(const char *name)
{
    static char path[4][256];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

#define GOOD(call)                                                                                           \
    do {                                                                                                     \
        if ((call) != OK) fail_msg("%s: %s", #call, e.msg);                                                  \
    } while (0)

static bool same_value(const struct gguf_value *a, const struct gguf_value *b)
{
    if (!b || a->type != b->type || a->elem != b->elem || a->n != b->n) return false;
    for (uint64_t i = 0; i < a->n; i++) {
        if (a->elem == GGUF_STR) {
            if (a->str[i].n != b->str[i].n || memcmp(a->str[i].p, b->str[i].p, a->str[i].n) != 0)
                return false;
        } else if (a->elem != GGUF_ARR && gguf_number(a, i) != gguf_number(b, i))
            return false;
    }
    return a->elem != GGUF_ARR || memcmp(a->data, b->data, 40) == 0; /* the nested array of the test */
}

static void copy_file(const struct gguf *g, const char *path)
{
    struct gguf_writer *w;
    struct error e;
    GOOD(gguf_writer_open(&w, path, &e));
    for (size_t i = 0; i < gguf_n_values(g); i++) gguf_writer_value(w, gguf_value_at(g, i));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        gguf_writer_tensor(w, t->name, t->dtype, t->rank, t->dim);
    }
    GOOD(gguf_writer_begin_data(w, &e));
    for (size_t i = 0; i < gguf_n_tensors(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        size_t half = t->n_bytes / 2; /* in pieces */
        GOOD(gguf_writer_data(w, t->data, half, &e));
        GOOD(gguf_writer_data(w, t->data + half, t->n_bytes - half, &e));
    }
    GOOD(gguf_writer_finish(w, &e));
    gguf_writer_close(w);
}

static void compare(const struct gguf *a, const struct gguf *b)
{
    assert_int_equal(gguf_n_values(a), gguf_n_values(b));
    assert_int_equal(gguf_n_tensors(a), gguf_n_tensors(b));
    for (size_t i = 0; i < gguf_n_values(a); i++)
        if (!same_value(gguf_value_at(a, i), gguf_value_at(b, i))) fail_msg("%s", gguf_value_at(a, i)->key);
    for (size_t i = 0; i < gguf_n_tensors(a); i++) {
        const struct gguf_tensor *s = gguf_tensor_at(a, i), *t = gguf_tensor_at(b, i);
        assert_string_equal(s->name, t->name);
        assert_int_equal(s->dtype, t->dtype);
        assert_int_equal(s->rank, t->rank);
        assert_memory_equal(s->dim, t->dim, s->rank * sizeof *s->dim);
        assert_int_equal(s->n_bytes, t->n_bytes);
        assert_memory_equal(s->data, t->data, s->n_bytes);
    }
}

#define MIXED                                                                                                \
    "'GGUF' 4:3 8:2 8:10 s:general.alignment 4:4 4:64 s:u16 4:2 2:9 s:i64 4:11 8:-9 s:f64 4:12 8:99 "        \
    "s:bool 4:7 1:1 s:str 4:8 s:hello s:a.str 4:9 4:8 8:3 s:one s: s:three s:a.i8 4:9 4:1 8:3 1:1 1:2 1:3 "  \
    "s:a.none 4:9 4:8 8:0 s:a.arr 4:9 4:9 8:2 4:4 8:1 4:7 4:8 8:2 s:x s:yy "                                 \
    "s:odd 4:2 8:3 8:5 4:0 8:0 s:q8 4:3 8:32 8:2 8:3 4:8 8:64 pad:64 z:59 1:1 z:4 z:200 1:5 z:3 "

static void test_round_trip(void **state)
{
    struct buf b = {0};
    struct gguf *a, *c;
    struct error e;
    build_script(&b, MIXED);
    GOOD(gguf_open_memory(&a, b.data, b.n, NULL, &e));
    copy_file(a, in_dir("copy.gguf"));
    GOOD(gguf_open(&c, in_dir("copy.gguf"), NULL, &e));
    compare(a, c);
    assert_int_equal((uintptr_t)(gguf_tensor_at(c, 1)->data) % 64, 0);
    gguf_close(c);
    gguf_close(a);
    buf_deinit(&b);
}

static void test_shared_round_trip(void **state)
{
    const char *shared = getenv("CORRAL_SHARED");
    char path[1024];
    struct gguf *a, *c;
    struct error e;
    snprintf(path, sizeof path, "%s/models/stories260K.gguf", shared ? shared : "");
    if (access(path, R_OK) != 0) {
        print_message("skipped: no model under CORRAL_SHARED\n");
        skip();
    }
    GOOD(gguf_open(&a, path, NULL, &e));
    copy_file(a, in_dir("stories.gguf"));
    GOOD(gguf_open(&c, in_dir("stories.gguf"), NULL, &e));
    compare(a, c);
    gguf_close(c);
    gguf_close(a);
}

static void test_typed_calls(void **state)
{
    struct gguf_writer *w;
    struct gguf *g;
    struct error e;
    uint32_t u;
    float f;
    bool yes;
    struct gguf_str s;
    GOOD(gguf_writer_open(&w, in_dir("typed.gguf"), &e));
    gguf_writer_u32(w, "u", 4000000000u);
    gguf_writer_f32(w, "f", -1.25f);
    gguf_writer_bool(w, "b", true);
    gguf_writer_str(w, "s", "text");
    gguf_writer_strs(w, "ss", (const char *const[]){"x", "", "yz"}, 3);
    gguf_writer_f32s(w, "fs", (const float[]){1, 2, 3}, 3);
    gguf_writer_i32s(w, "is", (const int32_t[]){-1, 7}, 2);
    GOOD(gguf_writer_begin_data(w, &e));
    GOOD(gguf_writer_finish(w, &e));
    gguf_writer_close(w);
    GOOD(gguf_open(&g, in_dir("typed.gguf"), NULL, &e));
    GOOD(gguf_get_u32(g, "u", true, &u, &e));
    GOOD(gguf_get_f32(g, "f", true, &f, &e));
    GOOD(gguf_get_bool(g, "b", true, &yes, &e));
    GOOD(gguf_get_str(g, "s", true, &s, &e));
    assert_true(u == 4000000000u && f == -1.25f && yes && s.n == 4);
    assert_int_equal(gguf_find(g, "ss")->str[2].n, 2);
    assert_true(gguf_number(gguf_find(g, "fs"), 2) == 3);
    assert_int_equal(gguf_integer(gguf_find(g, "is"), 0), -1);
    gguf_close(g);
}

/* What the writer is told wrongly, and the word that must be in its answer. */
enum mistake {
    KEY_TWICE,
    TENSOR_TWICE,
    EMPTY_KEY,
    BAD_RANK,
    BAD_ROW,
    BAD_DIM,
    BAD_TYPE,
    BAD_ALIGN,
    SHORT,
    LONG
};
static const struct {
    enum mistake what;
    const char *error;
} mistakes[] = {
    {KEY_TWICE, "metadata k is given twice"},
    {TENSOR_TWICE, "tensor t is given twice"},
    {EMPTY_KEY, "want 1 to"},
    {BAD_RANK, "rank 5"},
    {BAD_ROW, "whole blocks of q8_0"},
    {BAD_DIM, "tensor u"},
    {BAD_TYPE, "type 4"},
    {BAD_ALIGN, "power of two"},
    {SHORT, "not complete (12 of 16 bytes)"},
    {LONG, "4 bytes more"},
};

static status make_mistake(struct gguf_writer *w, enum mistake m, struct error *e)
{
    static const char data[64];
    gguf_writer_u32(w, "k", 1);
    gguf_writer_tensor(w, "t", DT_F32, 1, (const int64_t[]){4});
    if (m == KEY_TWICE) gguf_writer_u32(w, "k", 2);
    if (m == TENSOR_TWICE) gguf_writer_tensor(w, "t", DT_F32, 1, (const int64_t[]){4});
    if (m == EMPTY_KEY) gguf_writer_u32(w, "", 2);
    if (m == BAD_RANK) gguf_writer_tensor(w, "u", DT_F32, 5, (const int64_t[]){1, 1, 1, 1, 1});
    if (m == BAD_ROW) gguf_writer_tensor(w, "u", DT_Q8_0, 1, (const int64_t[]){33});
    if (m == BAD_DIM) gguf_writer_tensor(w, "u", DT_F32, 2, (const int64_t[]){0, 4});
    if (m == BAD_TYPE) gguf_writer_tensor(w, "u", (enum dtype)4, 1, (const int64_t[]){4});
    if (m == BAD_ALIGN) gguf_writer_u32(w, "general.alignment", 33);
    TRY(gguf_writer_begin_data(w, e));
    TRY(gguf_writer_data(w, data, m == SHORT ? 12 : m == LONG ? 20 : 16, e));
    return gguf_writer_finish(w, e);
}

static void test_mistakes(void **state)
{
    for (size_t i = 0; i < COUNT_OF(mistakes); i++) {
        struct gguf_writer *w;
        struct error e = {0};
        char tmp[300];
        const char *path = in_dir("bad.gguf");
        GOOD(gguf_writer_open(&w, path, &e));
        snprintf(tmp, sizeof tmp, "%s.tmp-%ld", path, (long)getpid());
        assert_int_equal(access(tmp, F_OK), 0);
        if (make_mistake(w, mistakes[i].what, &e) == OK || !strstr(e.msg, mistakes[i].error))
            fail_msg("case %zu: want \"%s\", got \"%s\"", i, mistakes[i].error, e.msg);
        gguf_writer_close(w);
        assert_int_not_equal(access(tmp, F_OK), 0);
        assert_int_not_equal(access(path, F_OK), 0);
    }
    struct gguf_writer *w;
    struct error e;
    assert_int_equal(gguf_writer_open(&w, "/dev/null", &e), ERR_ARG);
    assert_int_equal(gguf_writer_open(&w, in_dir("no/such/folder"), &e), ERR_IO);
}

/* --- split files --- */

struct part {
    const char *file;
    uint16_t no, count;
    int32_t tensors; /* of all parts, as the part says */
    const char *tensor[2];
};

static void write_part(const struct part *p)
{
    struct gguf_writer *w;
    struct error e;
    uint16_t no = p->no, count = p->count;
    GOOD(gguf_writer_open(&w, in_dir(p->file), &e));
    gguf_writer_value(w, &(struct gguf_value){"split.no", GGUF_U16, GGUF_U16, 1, (uint8_t *)&no, NULL});
    gguf_writer_value(w, &(struct gguf_value){"split.count", GGUF_U16, GGUF_U16, 1, (uint8_t *)&count, NULL});
    gguf_writer_value(w, &(struct gguf_value){"split.tensors.count", GGUF_I32, GGUF_I32, 1,
                                              (const uint8_t *)&p->tensors, NULL});
    if (p->no == 0) gguf_writer_str(w, "general.architecture", "llama");
    for (size_t i = 0; i < 2 && p->tensor[i]; i++)
        gguf_writer_tensor(w, p->tensor[i], DT_F32, 1, (const int64_t[]){1});
    GOOD(gguf_writer_begin_data(w, &e));
    for (size_t i = 0; i < 2 && p->tensor[i]; i++) {
        float letter = (float)p->tensor[i][0];
        GOOD(gguf_writer_data(w, &letter, sizeof letter, &e));
    }
    GOOD(gguf_writer_finish(w, &e));
    gguf_writer_close(w);
}

#define PART(file, no, ...)                                                                                  \
    {                                                                                                        \
        file, no, 3, 4,                                                                                      \
        {                                                                                                    \
            __VA_ARGS__                                                                                      \
        }                                                                                                    \
    }
static const struct {
    struct part part[3];
    const char *open, *error; /* NULL: opens */
} splits[] = {
    {{PART("a-00001-of-00003.gguf", 0, "v", "w"), PART("a-00002-of-00003.gguf", 1, "x"),
      PART("a-00003-of-00003.gguf", 2, "y")},
     "a-00001-of-00003.gguf",
     NULL},
    {{{0}}, "a-00002-of-00003.gguf", NULL},
    {{{0}}, "a-00003-of-00003.gguf", NULL},
    {{PART("b-00001-of-00003.gguf", 0, "v", "w"), PART("b-00003-of-00003.gguf", 2, "y"), {0}},
     "b-00001-of-00003.gguf",
     "part 2 of 3 is missing"},
    {{{0}}, "b-00003-of-00003.gguf", "part 2 of 3 is missing"},
    {{PART("c-00001-of-00003.gguf", 0, "v", "w"), PART("c-00002-of-00003.gguf", 2, "x"),
      PART("c-00003-of-00003.gguf", 2, "y")},
     "c-00001-of-00003.gguf",
     "split.no is 2, its name says 1"},
    {{{0}}, "c-00002-of-00003.gguf", "is named part 2 of 3, its metadata says part 3 of 3"},
    {{PART("d-00001-of-00003.gguf", 0, "v", "w"), {"d-00002-of-00003.gguf", 1, 2, 4, {"x", NULL}}, {0}},
     "d-00001-of-00003.gguf",
     "says it is one of 2 parts, the others say 3"},
    {{PART("e-00001-of-00003.gguf", 0, "v", "w"), PART("e-00002-of-00003.gguf", 1, "v"),
      PART("e-00003-of-00003.gguf", 2, "y")},
     "e-00002-of-00003.gguf",
     "tensor v is there twice"},
    {{PART("f-00001-of-00003.gguf", 0, "v"), PART("f-00002-of-00003.gguf", 1, "x"),
      PART("f-00003-of-00003.gguf", 2, "y")},
     "f-00001-of-00003.gguf",
     "split.tensors.count is 4, the parts hold 3"},
    {{PART("renamed.gguf", 0, "v"), {0}, {0}}, "renamed.gguf", "is not named NAME-00001-of-00003.gguf"},
    {{{"g-00001-of-00002.gguf", 0, 3, 4, {"v", NULL}}, {0}, {0}},
     "g-00001-of-00002.gguf",
     "is named part 1 of 2, its metadata says part 1 of 3"},
    {{{"h-00001-of-00001.gguf", 0, 1, 1, {"v", NULL}}, {0}, {0}}, "h-00001-of-00001.gguf", NULL},
};

static void test_splits(void **state)
{
    for (size_t i = 0; i < COUNT_OF(splits); i++) {
        struct gguf *g;
        struct error e = {0};
        for (size_t k = 0; k < 3; k++)
            if (splits[i].part[k].file) write_part(&splits[i].part[k]);
        status s = gguf_open(&g, in_dir(splits[i].open), NULL, &e);
        if ((s == OK) != !splits[i].error || (splits[i].error && !strstr(e.msg, splits[i].error)))
            fail_msg("%s: want \"%s\", got \"%s\"", splits[i].open, splits[i].error ? splits[i].error : "ok",
                     s == OK ? "ok" : e.msg);
        if (s != OK) continue;
        for (size_t k = 0; k < gguf_n_tensors(g); k++) {
            const struct gguf_tensor *t = gguf_tensor_at(g, k);
            float letter;
            memcpy(&letter, t->data, sizeof letter);
            assert_true(letter == (float)t->name[0]);
        }
        if (splits[i].open[0] == 'a') {
            assert_int_equal(gguf_n_tensors(g), 4);
            assert_string_equal(gguf_tensor_at(g, 3)->name, "y");
            assert_non_null(gguf_find(g, "general.architecture"));
        }
        gguf_close(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_shared_round_trip),
        cmocka_unit_test(test_typed_calls), cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_splits),
    };
    return cmocka_run_group_tests_name("format write", tests, make_dir, remove_dir);
}
