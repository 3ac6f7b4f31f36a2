/* The GGUF reader: good files, hostile files, every truncation and many flips, overrides. */
#include <dirent.h>

#include "base/map.h"
#include "support/gguf_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

#define V0       "'GGUF' 4:3 8:0 8:0 " /* no tensors, no values */
#define V1       "'GGUF' 4:3 8:0 8:1 " /* one value follows */
#define V2       "'GGUF' 4:3 8:0 8:2 "
#define T1       "'GGUF' 4:3 8:1 8:0 " /* one tensor header follows */
#define T2       "'GGUF' 4:3 8:2 8:0 "
#define ALL_ONES "8:0xffffffffffffffff "
#define F32_4    "4:1 8:4 4:0 " /* rank 1, 4 elements, f32 */

/* Every value type, arrays of some, and three tensors; the last byte of the file is the last of a tensor. */
#define EVERYTHING                                                                                           \
    "'GGUF' 4:3 8:3 8:19 "                                                                                   \
    "s:u8 4:0 1:200 s:i8 4:1 1:-5 s:u16 4:2 2:60000 s:i16 4:3 2:-300 s:u32 4:4 4:4000000000 "                \
    "s:i32 4:5 4:-70000 s:f32 4:6 4:0x3fc00000 s:bool 4:7 1:1 s:str 4:8 s:hello "                            \
    "s:u64 4:10 8:0xffffffffffffffff s:i64 4:11 8:-9 s:f64 4:12 8:0x4004000000000000 "                       \
    "s:a.u8 4:9 4:0 8:3 1:1 1:2 1:3 s:a.f32 4:9 4:6 8:2 4:0x3f800000 4:0x40000000 "                          \
    "s:a.str 4:9 4:8 8:3 s:one s: s:three s:a.bool 4:9 4:7 8:2 1:0 1:1 s:a.none 4:9 4:4 8:0 "                \
    "s:a.arr 4:9 4:9 8:2 4:4 8:1 4:7 4:8 8:2 s:x s:yy s:general.alignment 4:4 4:32 "                         \
    "s:first 4:2 8:4 8:3 4:0 8:0 s:second 4:1 8:64 4:8 8:64 s:third 4:4 8:8 8:1 8:2 8:1 4:1 8:160 "          \
    "pad:32 z:64 z:68 pad:32 z:31 1:7 "

static const struct {
    const char *script, *error; /* NULL: opens */
} reads[] = {
    {V0, NULL},
    {"'GGUF' 4:2 8:0 8:0", NULL},
    {EVERYTHING, NULL},
    {V1 "s:k 4:9 4:9 8:0", NULL},
    {V1 "s:general.alignment 4:10 8:64", NULL},
    {T1 "s:t " F32_4 "8:0 pad:32 z:16", NULL},
    {T2 "s:t " F32_4 "8:32 s:u " F32_4 "8:0 pad:32 z:48", NULL}, /* data in another order than headers */
    /* not GGUF, or another GGUF */
    {"", "empty"},
    {"'GGU'", "not a GGUF file"},
    {"'hello'", "begins with \"hell\""},
    {"'lmgg' z:100", "before GGUF"},
    {"'tjgg' z:100", "before GGUF"},
    {"'PK' 1:3 1:4 z:100", "zip archive"},
    {"'version' 1:32 'https://git-lfs.github.com'", "git lfs pull"},
    {"'<!DOCTYPE' z:9", "web page"},
    {"8:20 '{\"a\"' z:100", "safetensors"},
    {"'GGUF'", "ends inside the header"},
    {"'GGUF' 4:3 8:0", "ends inside the header"},
    {"'GGUF' 4:0 8:0 8:0", "version 0"},
    {"'GGUF' 4:1 4:0 4:0", "version 1"},
    {"'GGUF' 4:4 8:0 8:0", "version 4"},
    {"'GGUF' 4:0x03000000 8:0 8:0", "big-endian"},
    {"'FUGG' z:20", "big-endian"},
    /* counts and lengths */
    {"'GGUF' 4:3 8:0 " ALL_ONES, "claims 18446744073709551615 metadata values"},
    {"'GGUF' 4:3 " ALL_ONES "8:0", "claims 18446744073709551615 tensors"},
    {"'GGUF' 4:3 8:0 8:9 z:100", "claims 9 metadata values"},
    {"'GGUF' 4:3 8:0 8:65537 z:1000000", "at most 65536"},
    {V1 ALL_ONES "z:16", "claims 18446744073709551615 bytes"},
    {V1 "8:17 z:16", "claims 17 bytes, only 16 are left"},
    {V1 "S:65536 4:0 1:0", "at most 65535"},
    {V1 "8:0 4:0 1:0 z:20", "is empty"},
    {V1 "8:3 'a' 1:0 'b' 4:0 1:0", "NUL"},
    {V1 "s:kk 4:13 1:0", "unknown value type 13"},
    {V1 "s:kk 4:0xffffffff 1:0", "unknown value type 4294967295"},
    {V1 "s:kkkkkkk 4:10 4:0", "1 values of type u64"},
    {V1 "s:kkkkkkkkk 4:7 1:2", "a bool must be 0 or 1"},
    {V1 "s:kk 4:8 " ALL_ONES, "metadata kk: a string at byte"},
    {V1 "s:kk 4:9 4:13 8:0", "unknown value type 13"},
    {V1 "s:kk 4:9 4:0 " ALL_ONES, "an array of 18446744073709551615"},
    {V1 "s:kk 4:9 4:10 8:0x2000000000000001 8:0", "do not fit"},
    {V1 "s:kk 4:9 4:7 8:9 1:0", "do not fit"},
    {V1 "s:kk 4:9 4:8 8:0x1000000000000001 8:0", "does not fit"},
    {V1 "s:kk 4:9 4:8 8:2 s:one 8:9", "a string at byte"},
    {V1 "s:kk 4:9 4:9 8:0x2000000000000000", "does not fit"},
    {V1 "s:kk 4:9 4:9 8:1 4:8 8:5", "does not fit"},
    {V1 "s:kk 4:9 4:9 8:1 4:9 8:1 4:9 8:1 4:9 8:1 4:9 8:1 4:9 8:0", "nested more than"},
    {V2 "s:twin 4:0 1:1 s:twin 4:0 1:2 z:9", "metadata twin is there twice"},
    /* alignment */
    {V1 "s:general.alignment 4:4 4:0", "general.alignment is 0"},
    {V1 "s:general.alignment 4:4 4:48", "power of two"},
    {V1 "s:general.alignment 4:4 4:4", "power of two from 8"},
    {V1 "s:general.alignment 4:4 4:0x80000000", "power of two"},
    {V1 "s:general.alignment 4:5 4:-32", "want 0 to"},
    {V1 "s:general.alignment 4:8 s:32", "want an integer"},
    /* tensors */
    {T1 "s:t 4:0 4:0 8:0 z:40", "tensor t: 0 dimensions"},
    {T1 "s:t 4:5 8:1 8:1 8:1 8:1 8:1 4:0 8:0 z:40", "5 dimensions"},
    {T1 "s:t 4:1 8:0 4:0 8:0 z:40", "dimension 0 is 0"},
    {T1 "s:t 4:2 8:4 8:-1 4:0 8:0 z:40", "dimension 1 is -1"},
    {T1 "s:t 4:2 8:0x4000000000000000 8:2 4:0 8:0 z:40", "too large"},
    {T1 "s:t 4:1 8:0x7fffffffffffffff 4:0 8:0 z:40", "too large"},
    {T1 "s:t 4:4 8:65536 8:65536 8:65536 8:65536 4:0 8:0 z:40", "too large"},
    {T1 "s:t 4:1 8:33 4:8 8:0 z:400", "whole blocks of 32"},
    {T1 "s:t 4:2 8:128 8:2 4:12 8:0 z:400", "whole blocks of 256"},
    {T1 "s:t 4:1 8:4 4:43 8:0 z:400", "unknown tensor type 43"},
    {T1 "s:t 4:1 8:4 4:0xffffffff 8:0 z:400", "unknown tensor type 4294967295"},
    {T1 "s:t 4:1 8:4 4:4 8:0 z:400", "type 4 (Q4_2) was removed"},
    {T1 "s:t 4:1 8:4 4:5 8:0 z:400", "(Q4_3) was removed"},
    {T1 "s:t 4:1 8:4 4:31 8:0 z:400", "(Q4_0_4_4) was removed"},
    {T1 "s:t 4:1 8:4 4:32 8:0 z:400", "(Q4_0_4_8) was removed"},
    {T1 "s:t 4:1 8:4 4:33 8:0 z:400", "(Q4_0_8_8) was removed"},
    {T1 "s:t 4:1 8:4 4:36 8:0 z:400", "(IQ4_NL_4_4) was removed"},
    {T1 "s:t 4:1 8:4 4:37 8:0 z:400", "(IQ4_NL_4_8) was removed"},
    {T1 "s:t 4:1 8:4 4:38 8:0 z:400", "(IQ4_NL_8_8) was removed"},
    {T1 "s:t " F32_4 "8:8 pad:32 z:64", "not a multiple of the alignment 32"},
    {T1 "s:t " F32_4 "8:32 pad:32 z:47", "end after the file"},
    {T1 "s:t " F32_4 "8:0 z:3", "end after the file"},
    {T1 "s:t " F32_4 "8:-32 pad:32 z:64", "end after the file"},
    {T1 "S:256 " F32_4 "8:0 pad:32 z:16", "at most 255"},
    {T2 "s:t " F32_4 "8:0 s:t " F32_4 "8:32 pad:32 z:64", "tensor t is there twice"},
    {T2 "s:t 4:1 8:9 4:0 8:0 s:u " F32_4 "8:32 pad:32 z:64", "tensors t and u overlap"},
    {T2 "s:t " F32_4 "8:0 s:u " F32_4 "8:0 pad:32 z:64", "overlap"},
    {T2 "S:40 " F32_4 "8:0 s:u 4:1", "tensor u: the file ends inside a tensor shape"},
    /* split files */
    {V2 "s:split.no 4:2 2:0 s:split.count 4:2 2:1", NULL},
    {V2 "s:split.no 4:2 2:0 s:split.count 4:2 2:3", "part 1 of 3 of a split file"},
    {V2 "s:split.no 4:2 2:3 s:split.count 4:2 2:3", "split.no is 3"},
};

static void test_read(void **state)
{
    for (size_t i = 0; i < COUNT_OF(reads); i++) {
        struct buf b = {0};
        struct gguf *g;
        struct error e = {0};
        build_script(&b, reads[i].script);
        status s = gguf_open_memory(&g, b.data, b.n, NULL, &e);
        if (s == OK) {
            build_walk(g);
            gguf_close(g);
        }
        if ((s == OK) != !reads[i].error || (reads[i].error && !strstr(e.msg, reads[i].error)))
            fail_msg("case %zu: %s\nwant \"%s\", got \"%s\"", i, reads[i].script,
                     reads[i].error ? reads[i].error : "ok", s == OK ? "ok" : e.msg);
        assert_int_equal(e.code, s);
        assert_int_equal(gguf_open_memory(&g, b.data, b.n, NULL, NULL), s); /* an error nobody wants */
        gguf_close(s == OK ? g : NULL);
        buf_deinit(&b);
    }
}

static struct gguf *open_script(struct buf *b, const char *script, const struct gguf_options *o)
{
    struct gguf *g;
    struct error e = {0};
    build_script(b, script);
    if (gguf_open_memory(&g, b->data, b->n, o, &e) != OK) fail_msg("%s", e.msg);
    return g;
}

static void test_values(void **state)
{
    static const struct {
        const char *key;
        enum gguf_type type, elem;
        uint64_t n;
        double number; /* element n - 1 */
    } want[] = {
        {"u8", GGUF_U8, GGUF_U8, 1, 200},
        {"i8", GGUF_I8, GGUF_I8, 1, -5},
        {"u16", GGUF_U16, GGUF_U16, 1, 60000},
        {"i16", GGUF_I16, GGUF_I16, 1, -300},
        {"u32", GGUF_U32, GGUF_U32, 1, 4e9},
        {"i32", GGUF_I32, GGUF_I32, 1, -70000},
        {"f32", GGUF_F32, GGUF_F32, 1, 1.5},
        {"bool", GGUF_BOOL, GGUF_BOOL, 1, 1},
        {"u64", GGUF_U64, GGUF_U64, 1, 18446744073709551616.0},
        {"i64", GGUF_I64, GGUF_I64, 1, -9},
        {"f64", GGUF_F64, GGUF_F64, 1, 2.5},
        {"a.u8", GGUF_ARR, GGUF_U8, 3, 3},
        {"a.f32", GGUF_ARR, GGUF_F32, 2, 2},
        {"a.bool", GGUF_ARR, GGUF_BOOL, 2, 1},
    };
    struct buf b = {0};
    struct gguf *g = open_script(&b, EVERYTHING, NULL);
    assert_int_equal(gguf_n_values(g), 19);
    assert_int_equal(gguf_file_bytes(g), b.n);
    for (size_t i = 0; i < COUNT_OF(want); i++) {
        const struct gguf_value *v = gguf_find(g, want[i].key);
        if (!v || v->type != want[i].type || v->elem != want[i].elem || v->n != want[i].n ||
            gguf_number(v, v->n - 1) != want[i].number)
            fail_msg("%s: %s", want[i].key, v ? "wrong" : "missing");
    }
    const struct gguf_value *s = gguf_find(g, "a.str");
    assert_int_equal(s->n, 3);
    assert_int_equal(s->str[1].n, 0);
    assert_memory_equal(s->str[2].p, "three", 5);
    assert_int_equal(gguf_find(g, "a.arr")->elem, GGUF_ARR);
    assert_int_equal(gguf_find(g, "a.arr")->n, 2);
    assert_int_equal(gguf_find(g, "a.none")->n, 0);
    assert_null(gguf_find(g, "absent"));
    gguf_close(g);
    buf_deinit(&b);
}

static void test_tensors(void **state)
{
    struct buf b = {0};
    struct gguf *g = open_script(&b, EVERYTHING, NULL);
    const struct gguf_tensor *t = gguf_find_tensor(g, "first");
    assert_int_equal(gguf_n_tensors(g), 3);
    assert_ptr_equal(t, gguf_tensor_at(g, 0));
    assert_int_equal(t->rank, 2); /* 4 x 3 in the file: 3 rows of 4 */
    assert_int_equal(t->dim[0], 3);
    assert_int_equal(t->dim[1], 4);
    assert_int_equal(t->n_bytes, 48);
    t = gguf_find_tensor(g, "second");
    assert_int_equal(t->dtype, DT_Q8_0);
    assert_int_equal(t->n_bytes, 68);
    t = gguf_find_tensor(g, "third");
    assert_int_equal(t->rank, 4);
    assert_ptr_equal(t->data + t->n_bytes, b.data + b.n);
    assert_int_equal(t->data[31], 7);
    assert_null(gguf_find_tensor(g, "fourth"));
    gguf_close(g);
    buf_deinit(&b);
}

static void test_meta_only(void **state)
{
    struct buf b = {0};
    struct gguf *g = open_script(&b, T1 "s:t " F32_4 "8:0", &(struct gguf_options){.meta_only = true});
    assert_null(gguf_tensor_at(g, 0)->data);
    assert_int_equal(gguf_tensor_at(g, 0)->n_bytes, 16);
    gguf_close(g);
    buf_deinit(&b);
}

static void test_getters(void **state)
{
    struct buf b = {0};
    struct gguf *g = open_script(&b, EVERYTHING, NULL);
    struct error e;
    uint32_t u = 77;
    uint64_t q = 0;
    float f = 0;
    bool yes = false;
    struct gguf_str s = {0};
    assert_int_equal(gguf_get_u32(g, "absent", false, &u, &e), OK);
    assert_int_equal(u, 77);
    assert_int_equal(gguf_get_u32(g, "absent", true, &u, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "absent"));
    assert_int_equal(gguf_get_u32(g, "u8", true, &u, &e), OK);
    assert_int_equal(u, 200);
    assert_int_equal(gguf_get_u32(g, "i8", true, &u, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "is -5"));
    assert_int_equal(gguf_get_u32(g, "u64", true, &u, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_u32(g, "a.u8", true, &u, &e), ERR_FORMAT);
    assert_non_null(strstr(e.msg, "array of u8"));
    assert_int_equal(gguf_get_u32(g, "f32", true, &u, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_u64(g, "u64", true, &q, &e), OK);
    assert_true(q == UINT64_MAX);
    assert_int_equal(gguf_get_f32(g, "f64", true, &f, &e), OK);
    assert_true(f == 2.5f);
    assert_int_equal(gguf_get_f32(g, "i16", true, &f, &e), OK);
    assert_true(f == -300.0f);
    assert_int_equal(gguf_get_f32(g, "str", true, &f, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_bool(g, "bool", true, &yes, &e), OK);
    assert_true(yes);
    assert_int_equal(gguf_get_bool(g, "u8", true, &yes, &e), ERR_FORMAT);
    assert_int_equal(gguf_get_str(g, "str", true, &s, &e), OK);
    assert_int_equal(s.n, 5);
    assert_int_equal(gguf_get_str(g, "a.str", true, &s, &e), ERR_FORMAT);
    gguf_close(g);
    buf_deinit(&b);
}

static const struct {
    const char *set, *error; /* NULL: the value of "x" is then number */
    enum gguf_type type;
    double number;
} sets[] = {
    {"x=u8:255", NULL, GGUF_U8, 255},
    {"x=i8:-128", NULL, GGUF_I8, -128},
    {"x=u16:65535", NULL, GGUF_U16, 65535},
    {"x=i16:-1", NULL, GGUF_I16, -1},
    {"x=u32:4294967295", NULL, GGUF_U32, 4294967295.0},
    {"x=i32:-2147483648", NULL, GGUF_I32, -2147483648.0},
    {"x=u64:18446744073709551615", NULL, GGUF_U64, 18446744073709551616.0},
    {"x=i64:-9223372036854775808", NULL, GGUF_I64, -9223372036854775808.0},
    {"x=f32:1e4", NULL, GGUF_F32, 10000},
    {"x=f64:-0.5", NULL, GGUF_F64, -0.5},
    {"x=bool:true", NULL, GGUF_BOOL, 1},
    {"x=bool:0", NULL, GGUF_BOOL, 0},
    {"x", "want KEY=TYPE:VALUE", 0, 0},
    {"x=5", "want KEY=TYPE:VALUE", 0, 0},
    {"=u8:5", "want KEY=TYPE:VALUE", 0, 0},
    {"x=u7:5", "unknown type u7", 0, 0},
    {"x=arr:5", "unknown type arr", 0, 0},
    {"x=u8:256", "out of range for u8 (0 to 255)", 0, 0},
    {"x=u8:-1", "out of range", 0, 0},
    {"x=i8:128", "out of range", 0, 0},
    {"x=i16:-32769", "out of range", 0, 0},
    {"x=u64:18446744073709551616", "out of range", 0, 0},
    {"x=i64:9223372036854775808", "out of range", 0, 0},
    {"x=i64:-9223372036854775809", "out of range", 0, 0},
    {"x=u32:", "not a u32", 0, 0},
    {"x=u32:5x", "not a u32", 0, 0},
    {"x=u32: 5", "not a u32", 0, 0},
    {"x=f32:abc", "not a number", 0, 0},
    {"x=f32:", "not a number", 0, 0},
    {"x=f32:1e39", "not finite", 0, 0},
    {"x=f64:nan", "not finite", 0, 0},
    {"x=bool:maybe", "not a bool", 0, 0},
    {"general.alignment=u32:64", "cannot be changed", 0, 0},
    {"split.count=u16:2", "cannot be changed", 0, 0},
};

static void test_set(void **state)
{
    struct buf b = {0};
    build_script(&b, V1 "s:x 4:4 4:1");
    for (size_t i = 0; i < COUNT_OF(sets); i++) {
        struct gguf *g;
        struct error e = {0};
        struct gguf_options o = {.set = &sets[i].set, .n_set = 1};
        status s = gguf_open_memory(&g, b.data, b.n, &o, &e);
        const struct gguf_value *v = s == OK ? gguf_find(g, "x") : NULL;
        bool good = sets[i].error ? s == ERR_ARG && strstr(e.msg, sets[i].error)
                                  : v && v->type == sets[i].type && gguf_number(v, 0) == sets[i].number;
        if (!good) fail_msg("--set %s: %s", sets[i].set, s == OK ? "opened" : e.msg);
        if (s == OK) gguf_close(g);
    }
    static const char *const several[] = {"new.key=str:a=b:c", "x=u8:3", "new.key=str:last"};
    struct gguf *g;
    struct error e;
    struct gguf_str str;
    assert_int_equal(
        gguf_open_memory(&g, b.data, b.n, &(struct gguf_options){.set = several, .n_set = 3}, &e), OK);
    assert_int_equal(gguf_n_values(g), 2);
    assert_int_equal(gguf_get_str(g, "new.key", true, &str, &e), OK);
    assert_int_equal(str.n, 4);
    assert_memory_equal(str.p, "last", 4);
    gguf_close(g);
    buf_deinit(&b);
}

/* The bytes in memory of their exact size, so that a sanitizer sees a read past the end. */
static status open_exact(const void *p, size_t n)
{
    struct gguf *g;
    void *copy = mem_alloc(n);
    if (n) memcpy(copy, p, n);
    status s = gguf_open_memory(&g, copy, n, NULL, NULL);
    if (s == OK) {
        build_walk(g);
        gguf_close(g);
    }
    free(copy);
    return s;
}

static void test_every_truncation(void **state)
{
    struct buf b = {0};
    build_script(&b, EVERYTHING);
    assert_int_equal(open_exact(b.data, b.n), OK);
    for (size_t n = 0; n < b.n; n++)
        if (open_exact(b.data, n) == OK) fail_msg("opens when cut to %zu of %zu bytes", n, b.n);
    buf_deinit(&b);
}

static void test_every_flip(void **state)
{
    struct buf b = {0};
    size_t refused = 0;
    build_script(&b, EVERYTHING);
    for (size_t i = 0; i < b.n; i++) {
        char old = b.data[i];
        for (int k = 0; k < 10; k++) {
            b.data[i] = k < 8 ? (char)(old ^ 1 << k) : k == 8 ? (char)0xff : (char)(old + 1);
            refused += open_exact(b.data, b.n) != OK;
        }
        b.data[i] = old;
    }
    assert_true(refused > b.n); /* most flips of a header matter */
    buf_deinit(&b);
}

/* --- files of the shared folder --- */

static const char *shared_dir(void)
{
    const char *dir = getenv("CORRAL_SHARED");
    DIR *d = dir ? opendir(dir) : NULL;
    if (d) closedir(d);
    return d ? dir : NULL;
}

static size_t open_folder(const char *shared, const char *sub)
{
    char dir[1024], path[2048];
    size_t n = 0;
    snprintf(dir, sizeof dir, "%s/%s", shared, sub);
    DIR *d = opendir(dir);
    if (!d) return 0;
    for (struct dirent *f; (f = readdir(d));) {
        size_t k = strlen(f->d_name);
        struct gguf *g;
        struct error e;
        if (k < 5 || strcmp(f->d_name + k - 5, ".gguf") != 0) continue;
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        if (gguf_open(&g, path, NULL, &e) != OK) fail_msg("%s", e.msg);
        build_walk(g);
        assert_non_null(gguf_find(g, "general.architecture"));
        assert_string_equal(gguf_path(g), path);
        gguf_close(g);
        n++;
    }
    closedir(d);
    return n;
}

static void test_shared_files(void **state)
{
    static const char *const sub[] = {"golden/arch", "golden/quant", "golden/tokenizer", "models"};
    const char *shared = shared_dir();
    if (!shared) {
        print_message("skipped: no files under CORRAL_SHARED\n");
        skip();
    }
    for (size_t i = 0; i < COUNT_OF(sub); i++)
        if (open_folder(shared, sub[i]) == 0) fail_msg("no .gguf file in %s/%s", shared, sub[i]);
}

static void test_shared_flips(void **state)
{
    const char *shared = shared_dir();
    char path[1024];
    struct map m;
    struct error e;
    if (!shared) {
        print_message("skipped: no files under CORRAL_SHARED\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/models/stories260K.gguf", shared);
    if (map_open(&m, path, &e) != OK) fail_msg("%s", e.msg);
    uint8_t *copy = mem_alloc(m.n);
    memcpy(copy, m.data, m.n);
    struct gguf *g;
    assert_int_equal(gguf_open_memory(&g, copy, m.n, NULL, &e), OK);
    size_t header = (size_t)(gguf_tensor_at(g, 0)->data - copy);
    gguf_close(g);
    assert_true(header > 1000);
    for (size_t i = 0; i < header; i++) {
        uint8_t old = copy[i];
        copy[i] = (uint8_t)(i % 3 == 0 ? 0xff : i % 3 == 1 ? old ^ 0x80 : old + 1);
        if (gguf_open_memory(&g, copy, m.n, NULL, &e) == OK)
            gguf_close(g);
        else
            assert_true(e.msg[0] != 0);
        copy[i] = old;
    }
    for (size_t n = 0; n < m.n; n += n < header ? 97 : 9973)
        assert_int_not_equal(gguf_open_memory(&g, copy, n, NULL, &e), OK);
    free(copy);
    map_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_meta_only),
        cmocka_unit_test(test_getters),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_flip),
        cmocka_unit_test(test_shared_files),
        cmocka_unit_test(test_shared_flips),
    };
    return cmocka_run_group_tests_name("format gguf", tests, NULL, NULL);
}
