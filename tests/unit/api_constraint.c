/* Constraints of requests: what each field means, what is refused, and the cache under several threads. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "api/constraint.h"
#include "format/gguf.h"
#include "support/vocab_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h> /* after base.h: it defines a macro fail() */

// clang-format off
static const struct {
    const char *fields; /* an object of them */
    status code;
    const char *want;   /* OK: kind and text, "" for none; else part of the message */
} field_cases[] = {
    {"{\"response_format\": {\"type\": \"text\"}}", OK, ""},
    {"{\"response_format\": null, \"format\": null, \"grammar\": \"\", \"structured_outputs\": null}", OK, ""},
    {"{\"format\": \"\"}", OK, ""},
    {"{\"response_format\": {\"type\": \"json_object\"}}", OK, "json_schema {\"type\":\"object\"}"},
    {"{\"response_format\": {\"type\": \"json_object\", \"schema\": {\"minimum\": 0.1}}}", OK, "json_schema {\"minimum\":0.1000"},
    {"{\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"name\": \"n\", \"strict\": true, \"schema\": {\"z\": 1, \"a\": 2}}}}",
     OK, "json_schema {\"z\":1,\"a\":2}"},
    {"{\"text.format\": {\"type\": \"json_schema\", \"name\": \"n\", \"schema\": {}}}", OK, "json_schema {}"},
    {"{\"output_format\": {\"type\": \"json_schema\", \"schema\": true}}", OK, "json_schema true"},
    {"{\"format\": \"json\"}", OK, "json_schema {\"type\":\"object\"}"},
    {"{\"format\": {\"type\": \"array\"}}", OK, "json_schema {\"type\":\"array\"}"},
    {"{\"json_schema\": {\"type\": \"null\"}}", OK, "json_schema {\"type\":\"null\"}"},
    {"{\"grammar\": \"root ::= \\\"a\\\"\"}", OK, "gbnf root ::= \"a\""},
    {"{\"guided_json\": \"{\\\"type\\\": \\\"null\\\"}\"}", OK, "json_schema {\"type\":\"null\"}"},
    {"{\"guided_regex\": \"a+\"}", OK, "regex a+"},
    {"{\"guided_choice\": [\"a\", \"b\"]}", OK, "choice [\"a\",\"b\"]"},
    {"{\"guided_grammar\": \"root ::= [a]\"}", OK, "gbnf root ::= [a]"},
    {"{\"guided_grammar\": \"start: /a/\"}", OK, "lark start: /a/"},
    {"{\"structured_outputs\": {\"structural_tag\": {\"type\": \"any_text\"}}}", OK, "structural_tag {\"type\":\"any_text\"}"},
    {"{\"response_format\": {\"type\": \"structural_tag\", \"format\": {\"type\": \"any_text\"}}}", OK, "structural_tag {\"type\":\"structural_tag\","},
    {"{\"structured_outputs\": {\"json\": {}, \"regex\": null, \"disable_any_whitespace\": true}}", OK, "json_schema {}"},
    {"{\"structured_outputs\": {\"choice\": [\"x\"]}}", OK, "choice [\"x\"]"},
    {"{\"structured_outputs\": {\"json_object\": true}}", OK, "json_schema {\"type\":\"object\"}"},
    {"{\"structured_outputs\": {\"grammar\": \"root ::= [a]\"}}", OK, "gbnf root ::= [a]"},
    {"{\"response_format\": {\"type\": \"json_object\"}, \"grammar\": \"root ::= [a]\"}", ERR_ARG, "there was one already: response_format"},
    {"{\"structured_outputs\": {\"json\": {}, \"regex\": \"a\"}}", ERR_ARG, "only one constraint"},
    {"{\"structured_outputs\": {\"whitespace_pattern\": \" \"}}", ERR_UNSUPPORTED, "whitespace_pattern"},
    {"{\"structured_outputs\": []}", ERR_ARG, "must be an object"},
    {"{\"response_format\": \"json\"}", ERR_ARG, "response_format: must be an object"},
    {"{\"response_format\": {\"type\": \"xml\"}}", ERR_UNSUPPORTED, "\"xml\" is not supported"},
    {"{\"response_format\": {\"type\": \"json_schema\"}}", ERR_ARG, "must have a \"schema\""},
    {"{\"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": 3}}}", ERR_ARG, "object or a boolean"},
    {"{\"format\": \"yaml\"}", ERR_ARG, "must be \"json\""},
    {"{\"format\": 3}", ERR_ARG, "object or a boolean"},
    {"{\"guided_json\": \"{\"}", ERR_ARG, "not JSON"},
    {"{\"guided_choice\": \"a\"}", ERR_ARG, "array of strings"},
    {"{\"grammar\": 1}", ERR_ARG, "must be a string"},
    {"{\"temperature\": 1}", ERR_NOT_FOUND, "temperature"},
};
// clang-format on

static void test_fields(void **state)
{
    (void)state;
    int wrong = 0;
    for (size_t i = 0; i < COUNT_OF(field_cases); i++) {
        struct constraint_spec s = {0};
        struct error e = {0};
        status code = OK;
        const char *name;
        json_t *v, *fields = json_loads(field_cases[i].fields, 0, NULL);
        struct buf got = {0};
        assert_non_null(fields);
        json_object_foreach(fields, name, v) if (code == OK) code = constraint_field(&s, name, v, &e);
        if (code != OK)
            buf_adds(&got, e.msg);
        else if (s.kind)
            buf_addf(&got, "%s %s", s.kind, s.text.data);
        else
            buf_adds(&got, "");
        const char *text = got.n ? got.data : "";
        bool right = code == OK ? strncmp(text, field_cases[i].want, strlen(field_cases[i].want)) == 0
                                : strstr(text, field_cases[i].want) != NULL;
        if (code == OK) right &= !*text == !*field_cases[i].want && (!s.kind || s.field);
        if (code != field_cases[i].code || !right) {
            print_error("%s: %s, \"%s\"; want %s, \"%s\"\n", field_cases[i].fields, status_name(code), text,
                        status_name(field_cases[i].code), field_cases[i].want);
            wrong++;
        }
        buf_deinit(&got);
        constraint_spec_deinit(&s);
        json_decref(fields);
    }
    assert_int_equal(wrong, 0);
}

/* ---- the pool ---------------------------------------------------------------------------------------- */

static struct constraint_spec spec(const char *kind, const char *text)
{
    struct constraint_spec s = {0};
    struct error e;
    if (constraint_from_text(&s, kind, text, strlen(text), &e) != OK) fail_msg("%s", e.msg);
    return s;
}

static int32_t token_of(const struct tokenizer *t, const char *text)
{
    for (int32_t i = 0; i < (int32_t)tokenizer_n_vocab(t); i++) {
        size_t n;
        const char *p = tokenizer_piece(t, i, &n);
        if (n == strlen(text) && memcmp(p, text, n) == 0) return i;
    }
    fail_msg("no token \"%s\"", text);
    return -1;
}

/* Through the engine's functions, after the pool and the spec are gone. */
static void test_outlives_its_pool(void **state)
{
    struct tokenizer *t = *state;
    struct constraints *p;
    struct constraint *c;
    struct error e;
    uint32_t bits[64] = {0};
    assert_true(tokenizer_n_vocab(t) <= 32 * COUNT_OF(bits));
    assert_int_equal(constraints_new(&p, t, NULL, &e), OK);
    struct constraint_spec s = spec("choice", "[\"ab\", \"ac\"]");
    assert_int_equal(constraints_get(p, &s, &c, NULL, NULL, &e), OK);
    constraint_spec_deinit(&s);
    constraints_free(p);
    struct engine_constraint k = constraint_engine(c);
    void *one = k.clone(k.state), *two = k.clone(k.state);
    constraint_unref(c);
    int32_t a = token_of(t, "a"), b = token_of(t, "b");
    k.mask(one, bits);
    assert_true(bits[a >> 5] >> (a & 31) & 1);
    assert_false(bits[b >> 5] >> (b & 31) & 1);
    assert_true(k.accept(one, a));
    k.mask(one, bits);
    assert_true(bits[b >> 5] >> (b & 31) & 1);
    assert_false(k.accept(one, a));
    k.mask(two, bits); /* has not moved */
    assert_true(bits[a >> 5] >> (a & 31) & 1);
    k.free(one);
    k.free(two);
}

/* Where the text is forced, the tokenizer's tokens are the only ones, known in advance; the last one is open.
 */
static void test_forced_tokens(void **state)
{
    struct tokenizer *t = *state;
    struct constraints *p;
    struct constraint *c;
    struct error e;
    uint32_t bits[64] = {0};
    int32_t guess[8];
    size_t n_forced = 0, n_token = 0;
    struct buf text = {0};
    assert_int_equal(constraints_new(&p, t, NULL, &e), OK);
    struct constraint_spec s =
        spec("json_schema", "{\"type\": \"object\", \"properties\": {\"hello\": {\"const\": \"hello "
                            "world\"}, \"n\": {\"enum\": [12]}}, "
                            "\"required\": [\"hello\", \"n\"], \"additionalProperties\": false}");
    s.options.ordered = true;
    assert_int_equal(constraints_get(p, &s, &c, NULL, NULL, &e), OK);
    struct engine_constraint k = constraint_engine(c);
    void *x = k.clone(k.state);
    for (;; n_token++) {
        uint32_t n = k.forced(x, guess, COUNT_OF(guess)), n_bit = 0;
        int32_t id = -1;
        size_t len;
        k.mask(x, bits);
        for (int32_t i = 0; i < (int32_t)tokenizer_n_vocab(t); i++)
            if (bits[i >> 5] >> (i & 31) & 1) n_bit++, id = i;
        assert_true(n_bit > 0);
        if (n) assert_true(n_bit == 1 && id == guess[0]);
        n_forced += n > 0;
        if (tokenizer_is_eog(t, id)) break;
        const char *piece = tokenizer_piece(t, id, &len);
        buf_add(&text, piece, len);
        assert_true(k.accept(x, id));
    }
    assert_string_equal(text.data, "{\"hello\": \"hello world\", \"n\": 12}");
    assert_true(n_forced + 2 >= n_token && n_forced < n_token);
    buf_deinit(&text);
    k.free(x);
    constraint_unref(c);
    constraint_spec_deinit(&s);
    constraints_free(p);
}

/* What two user-defined tokens have in common is forced as text, and yet each may be written as the token it
 * is. */
static void test_forced_text_keeps_tokens_whole(void **state)
{
    static const struct vocab_token tok[] = {
        {"</s>", TOK_CONTROL, 0}, {"<think>", TOK_USER_DEFINED, 0}, {"<tool>", TOK_USER_DEFINED, 0}};
    struct vocab_spec v = {.model = "gpt2",
                           .pre = "qwen2",
                           .tok = tok,
                           .n_tok = COUNT_OF(tok),
                           .bos = -1,
                           .eos = 256,
                           .add_bos = -1,
                           .add_space = -1};
    // clang-format off
    static const struct { const char *choice; uint32_t forced; int32_t allowed[2]; } cases[] = {
        {"[\"<think>a\", \"<tool>b\"]", 0, {257, 258}}, /* "<t", but either token */
        {"[\"ab<think>a\", \"ab<tool>b\"]", 1, {'a', 'a'}},
        {"[\"abx\", \"aby\"]", 1, {'a', 'a'}},
        {"[\"<tool>ax\", \"<tool>ay\"]", 1, {258, 258}},
    };
    // clang-format on
    struct tokenizer *t;
    struct constraints *p;
    struct error e;
    (void)state;
    assert_int_equal(vocab_make(&t, &v, &e), OK);
    assert_int_equal(constraints_new(&p, t, NULL, &e), OK);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct constraint *c;
        uint32_t bits[9] = {0};
        int32_t guess[8];
        struct constraint_spec s = spec("choice", cases[i].choice);
        assert_int_equal(constraints_get(p, &s, &c, NULL, NULL, &e), OK);
        struct engine_constraint k = constraint_engine(c);
        void *x = k.clone(k.state);
        print_message("%s\n", cases[i].choice);
        assert_int_equal(k.forced(x, guess, COUNT_OF(guess)), cases[i].forced);
        k.mask(x, bits);
        for (size_t j = 0; j < 2; j++) {
            int32_t id = cases[i].allowed[j]; /* of a byte: the byte */
            assert_true(bits[id >> 5] >> (id & 31) & 1);
        }
        k.free(x);
        constraint_unref(c);
        constraint_spec_deinit(&s);
    }
    constraints_free(p);
    tokenizer_free(t);
}

static void test_errors_say_where(void **state)
{
    struct tokenizer *t = *state;
    struct constraints *p;
    struct constraint *c;
    struct error e;
    struct constraints_stats n;
    assert_int_equal(constraints_new(&p, t, NULL, &e), OK);
    struct constraint_spec s =
        spec("json_schema", "{\"properties\": {\"a\": {\"type\": \"string\", \"pattern\": \"(\"}}}");
    for (int again = 0; again < 2; again++) {
        assert_int_equal(constraints_get(p, &s, &c, NULL, NULL, &e), ERR_ARG);
        assert_null(c);
        assert_non_null(strstr(e.msg, "/properties/a"));
    }
    constraints_stats(p, &n);
    assert_int_equal(n.n_failed, 1); /* the second time it was remembered */
    assert_int_equal(n.n_hit, 1);
    constraint_spec_deinit(&s);
    constraints_free(p);
}

static void test_memory_is_bounded(void **state)
{
    struct tokenizer *t = *state;
    struct constraints *p;
    struct error e;
    struct constraints_stats n;
    const struct constraints_options o = {.max_bytes = 200000};
    assert_int_equal(constraints_new(&p, t, &o, &e), OK);
    for (int i = 0; i < 300; i++) {
        char text[64];
        struct constraint *c;
        snprintf(text, sizeof text, "[\"choice %d\", \"of %d\"]", i, i);
        struct constraint_spec s = spec("choice", text), first = spec("choice", "[\"kept\"]");
        assert_int_equal(constraints_get(p, &s, &c, NULL, NULL, &e), OK);
        constraint_unref(c);
        assert_int_equal(constraints_get(p, &first, &c, NULL, NULL, &e), OK); /* used all the time */
        constraint_unref(c);
        constraint_spec_deinit(&s);
        constraint_spec_deinit(&first);
    }
    constraints_stats(p, &n);
    assert_true(n.bytes <= o.max_bytes);
    assert_true(n.n_evicted > 0);
    assert_int_equal(n.n_compiled, 301); /* what is used stays */
    constraints_free(p);
}

struct result {
    atomic_int n_ready, n_ok, n_cancelled;
};

static void count_ready(void *user, struct constraint *c, const struct error *e)
{
    struct result *r = user;
    r->n_ok += c != NULL;
    r->n_cancelled += !c && e->code == ERR_CANCELLED;
    constraint_unref(c);
    r->n_ready++;
}

struct crowd {
    struct constraints *p;
    struct result r;
    atomic_int n_asked, n_at_once, n_busy;
};

static void *ask(void *arg)
{
    struct crowd *w = arg;
    for (int i = 0; i < 200; i++) {
        char text[64];
        struct constraint *c;
        struct error e;
        snprintf(text, sizeof text, "(a|b){%d}c", 1 + i % 40);
        struct constraint_spec s = spec("regex", text);
        status code = constraints_get(w->p, &s, &c, count_ready, &w->r, &e);
        if (code == ERR_BUSY)
            w->n_busy++;
        else if (code == OK && c)
            w->n_at_once++;
        else if (code == OK)
            w->n_asked++;
        constraint_unref(c);
        constraint_spec_deinit(&s);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    struct tokenizer *t = *state;
    struct crowd w = {0};
    struct error e;
    struct constraints_stats n;
    pthread_t thread[4];
    const struct constraints_options o = {.max_queued = 10};
    assert_int_equal(constraints_new(&w.p, t, &o, &e), OK);
    for (size_t i = 0; i < COUNT_OF(thread); i++) pthread_create(&thread[i], NULL, ask, &w);
    for (size_t i = 0; i < COUNT_OF(thread); i++) pthread_join(thread[i], NULL);
    constraints_stats(w.p, &n);
    constraints_free(w.p);
    assert_int_equal(w.r.n_ready, w.n_asked);
    assert_int_equal(w.r.n_ok + w.r.n_cancelled, w.r.n_ready);
    assert_int_equal(w.n_asked + w.n_at_once + w.n_busy, 800);
    assert_true(n.n_compiled <= 40); /* asked for at once, compiled once */
}

static int open_vocab(void **state)
{
    const struct vocab_spec spec = SMALL_BPE(.pre = "gpt-2");
    struct tokenizer *t;
    status code = vocab_make(&t, &spec, NULL);
    *state = t;
    return code;
}

static int close_vocab(void **state)
{
    tokenizer_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_outlives_its_pool),
        cmocka_unit_test(test_errors_say_where),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_forced_tokens),
        cmocka_unit_test(test_forced_text_keeps_tokens_whole),
    };
    return cmocka_run_group_tests(tests, open_vocab, close_vocab);
}
