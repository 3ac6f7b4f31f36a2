#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/opt.h"

#include <cmocka.h> /* after ours: it has a macro fail() of its own */

static struct {
    const char *model, *kind;
    int64_t tokens, seed;
    double temp;
    bool json, color, temp_seen;
    struct opt_list stop;
} o;
static const struct opt opts[] = {
    {.name = "model", .letter = 'm', .type = OPT_STR, .at = &o.model, .arg = "FILE", .help = "model file"},
    {.name = "max-tokens",
     .letter = 'n',
     .type = OPT_INT,
     .at = &o.tokens,
     .min = 0,
     .max = 1 << 20,
     .def = "128",
     .unit = "tokens",
     .help = "tokens to generate"},
    {.name = "seed", .type = OPT_INT, .at = &o.seed, .help = "random seed"},
    {.name = "", .help = "Sampling"},
    {.name = "temp",
     .type = OPT_FLOAT,
     .at = &o.temp,
     .min = 0,
     .max = 2,
     .def = "0.8",
     .seen = &o.temp_seen,
     .help = "temperature"},
    {.name = "kind", .type = OPT_STR, .at = &o.kind, .choices = "f16|f32", .def = "f16", .help = "a choice"},
    {.name = "stop", .type = OPT_LIST, .at = &o.stop, .help = "stop text"},
    {.name = "json", .type = OPT_BOOL, .at = &o.json, .help = "machine-readable"},
    {.name = "color", .type = OPT_BOOL, .at = &o.color, .def = "true", .help = "colours"},
    {0}};

#define MAX_WORDS 2
static const char *word[MAX_WORDS];
static size_t n_word;

/* argv as one string with '|' between words */
static status parse(const char *line, struct error *e)
{
    static char copy[256];
    char *argv[16] = {(char *)"run"};
    int argc = 1;
    free(o.stop.item);
    memset(&o, 0, sizeof o);
    snprintf(copy, sizeof copy, "%s", line);
    for (char *save, *w = strtok_r(copy, "|", &save); w && argc < 16; w = strtok_r(NULL, "|", &save))
        argv[argc++] = w;
    return opt_parse(opts, argc, argv, word, &n_word, MAX_WORDS, e);
}

static void accepts(void **state)
{
    static const struct {
        const char *line, *model;
        int64_t tokens, seed;
        double temp;
        bool json, color;
        size_t n_stop, n_word;
    } row[] = {
        {"", NULL, 128, 0, 0.8, false, true, 0, 0},
        {"-m|a.gguf|-n|5", "a.gguf", 5, 0, 0.8, false, true, 0, 0},
        {"--model=x=y|--temp|0", "x=y", 128, 0, 0, false, true, 0, 0},
        {"--seed|-7|file", NULL, 128, -7, 0.8, false, true, 0, 1},
        {"--seed=-7", NULL, 128, -7, 0.8, false, true, 0, 0},
        {"-n|4k|--seed|2G", NULL, 4096, INT64_C(2) << 30, 0.8, false, true, 0, 0},
        {"--json|--no-color", NULL, 128, 0, 0.8, true, false, 0, 0},
        {"--json|--no-json|--color=off", NULL, 128, 0, 0.8, false, false, 0, 0},
        {"--stop|a|--stop=b|one|--stop|-c|two", NULL, 128, 0, 0.8, false, true, 3, 2},
        {"-m|- an item", "- an item", 128, 0, 0.8, false, true, 0, 0},
        {"-|--|--json", NULL, 128, 0, 0.8, false, true, 0, 2},
        {"--temp|1|--temp|1.5e0", NULL, 128, 0, 1.5, false, true, 0, 0},
        {"--model=", "", 128, 0, 0.8, false, true, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct error e = {0};
        print_message("case '%s'\n", row[i].line);
        status r = parse(row[i].line, &e);
        if (r != OK) fail_msg("refused: %s", e.msg);
        if (row[i].model)
            assert_string_equal(o.model, row[i].model);
        else
            assert_null(o.model);
        assert_int_equal(o.tokens, row[i].tokens);
        assert_int_equal(o.seed, row[i].seed);
        assert_true(o.temp == row[i].temp);
        assert_int_equal(o.json, row[i].json);
        assert_int_equal(o.color, row[i].color);
        assert_int_equal(o.stop.n, row[i].n_stop);
        assert_int_equal(n_word, row[i].n_word);
        assert_int_equal(o.temp_seen, strstr(row[i].line, "--temp") != NULL);
    }
}

static void refuses(void **state)
{
    static const struct {
        const char *line, *message;
    } row[] = {
        {"--modle|x", "did you mean --model?"},
        {"-temp|0", "did you mean --temp?"},
        {"--max|5", "did you mean --max-tokens?"},
        {"--frobnicate", "unknown option --frobnicate"},
        {"--n=3", "unknown option --n"},
        {"-x", "unknown option -x"},
        {"--temp|3", "3 is out of range, it must be 0 to 2"},
        {"--temp|-1", "-1 is out of range, it must be 0 to 2"},
        {"--temp|nan", "not a number"},
        {"--temp|1x", "not a number"},
        {"--temp|", "needs a value"},
        {"-n|-1", "it must be 0 to 1048576 tokens"},
        {"-n|2M", "it must be 0 to 1048576 tokens"},
        {"-n|1.5", "not a whole number"},
        {"-n|9999999999999999999", "not a whole number"},
        {"--seed|9223372036854775807G", "not a whole number"},
        {"--seed|5kk", "not a whole number"},
        {"--kind|f8", "none of f16|f32"},
        {"--kind|f", "none of f16|f32"},
        {"-m", "needs a value"},
        {"-m|--json", "needs a value, but --json follows"},
        {"--json=maybe", "not true or false"},
        {"--no-json=1", "takes no value"},
        {"--no-temp", "unknown option --no-temp"},
        {"a|b|c", "unexpected argument 'c'"},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        struct error e = {0};
        print_message("case '%s'\n", row[i].line);
        assert_int_equal(parse(row[i].line, &e), ERR_ARG);
        if (!strstr(e.msg, row[i].message))
            fail_msg("message is '%s', want '%s' in it", e.msg, row[i].message);
    }
}

static void environment_is_below_flags(void **state)
{
    struct error e = {0};
    setenv("CORRAL_MAX_TOKENS", "7", 1);
    setenv("CORRAL_JSON", "yes", 1);
    setenv("CORRAL_STOP", "x", 1);
    assert_int_equal(parse("", &e), OK);
    assert_int_equal(o.tokens, 7);
    assert_true(o.json);
    assert_int_equal(o.stop.n, 1);
    assert_int_equal(parse("-n|9|--no-json|--stop|a|--stop|b", &e), OK);
    assert_int_equal(o.tokens, 9);
    assert_false(o.json);
    assert_int_equal(o.stop.n, 2);
    assert_string_equal(o.stop.item[0], "a");
    setenv("CORRAL_MAX_TOKENS", "-3", 1);
    assert_int_equal(parse("", &e), ERR_ARG);
    assert_non_null(strstr(e.msg, "CORRAL_MAX_TOKENS: -3 is out of range"));
    setenv("CORRAL_MAX_TOKENS", "", 1); /* empty: as if unset */
    assert_int_equal(parse("", &e), OK);
    assert_int_equal(o.tokens, 128);
    unsetenv("CORRAL_MAX_TOKENS");
    unsetenv("CORRAL_JSON");
    unsetenv("CORRAL_STOP");
}

static void help_is_a_flag_not_a_value(void **state)
{
    static const struct {
        int n;
        const char *argv[4];
        bool want;
    } row[] = {
        {2, {"run", "--help"}, true},          {2, {"run", "-h"}, true},
        {3, {"run", "-m", "--help"}, false},   {3, {"run", "--json", "-h"}, true},
        {3, {"run", "--", "-h"}, false},       {1, {"run"}, false},
        {3, {"run", "--model=x", "-h"}, true},
    };
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        print_message("case %zu\n", i);
        assert_int_equal(opt_wants_help(opts, row[i].n, (char **)row[i].argv), row[i].want);
    }
}

static void help_names_default_range_and_environment(void **state)
{
    char *text = NULL;
    size_t n;
    FILE *f = open_memstream(&text, &n);
    assert_non_null(f);
    opt_help(opts, f);
    fclose(f);
    static const char *const want[] = {"-n, --max-tokens N", "default 128 tokens", "0 to 1048576",
                                       "CORRAL_MAX_TOKENS",  "\nSampling:\n",      "f16|f32",
                                       "--model FILE"};
    for (size_t i = 0; i < COUNT_OF(want); i++)
        if (!strstr(text, want[i])) fail_msg("'%s' is not in:\n%s", want[i], text);
    free(text);
}

static void command_table_is_sound(void **state)
{
    for (const struct command_row *r = command_table; r->command; r++) {
        const struct command *c = r->command;
        print_message("command %s\n", c->name);
        assert_non_null(r->group);
        assert_non_null(c->summary);
        assert_non_null(c->run);
        assert_non_null(c->opts);
        assert_non_null(c->help);
        assert_non_null(strstr(c->help, "Examples:\n"));
        assert_ptr_equal(cli_find_command(c->name), c);
        for (const struct opt *a = c->opts; a && a->name; a++) {
            assert_true(!a->name[0] || a->at);
            for (const struct opt *b = a + 1; b->name; b++) { /* no name or letter twice */
                assert_true(!a->name[0] || strcmp(a->name, b->name) != 0);
                assert_true(!a->letter || a->letter != b->letter);
            }
        }
    }
    assert_null(cli_find_command("nonsense"));
    assert_string_equal(cli_nearest_command("shema"), "schema");
    assert_null(cli_nearest_command("zzzzzz"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts),
        cmocka_unit_test(refuses),
        cmocka_unit_test(environment_is_below_flags),
        cmocka_unit_test(help_is_a_flag_not_a_value),
        cmocka_unit_test(help_names_default_range_and_environment),
        cmocka_unit_test(command_table_is_sound),
    };
    int r = cmocka_run_group_tests(tests, NULL, NULL);
    free(o.stop.item);
    return r;
}
