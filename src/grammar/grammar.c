#include "grammar/grammar.h"

#include <stdlib.h>
#include <string.h>

#include "grammar/grammar_int.h"

enum { DEFAULT_WORK = 20000000, MAX_TEXT = 8 << 20 };

static const struct grammar_kind *const kinds[] = {&grammar_json_schema,    &grammar_regex,
                                                   &grammar_gbnf,           &grammar_choice,
                                                   &grammar_structural_tag, &grammar_lark};

static const struct grammar_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(kinds); i++)
        if (strcmp(kinds[i]->name, name) == 0) return kinds[i];
    return NULL;
}

static struct grammar *new_grammar(const struct grammar_options *o)
{
    struct grammar *g = mem_zalloc(1, sizeof *g);
    atomic_init(&g->refs, 1);
    g->arena.max = o->max_bytes ? o->max_bytes : (size_t)64 << 20;
    g->forms = &builtin_get()->forms[o->space];
    g->ordered = o->ordered;
    return g;
}

/* Everything that compilation allocates is the arena's, or listed in b: so a failure may come from anywhere.
 */
static status compile_into(struct build *b, struct grammar *g, const struct grammar_kind *k, const char *text,
                           size_t n)
{
    int failed = setjmp(b->failed);
    if (!failed) k->compile(b, g, text, n);
    if (!failed && b->dropped.n) g->dropped = mem_strdup(b->dropped.data);
    buf_deinit(&b->dropped);
    json_decref(b->owned);
    return (status)failed;
}

status grammar_compile(struct grammar **out, const char *kind, const char *text, size_t n,
                       const struct grammar_options *o, struct error *e)
{
    static const struct grammar_options defaults = {0};
    const struct grammar_kind *k = find_kind(kind);
    struct error own;
    *out = NULL;
    if (!k)
        return fail(e, ERR_ARG,
                    "\"%s\" is no kind of grammar: json_schema, regex, gbnf, lark, choice, structural_tag",
                    kind);
    if (n > MAX_TEXT) return fail(e, ERR_LIMIT, "a grammar of more than %d MiB", MAX_TEXT >> 20);
    if (!o) o = &defaults;
    struct grammar *g = new_grammar(o);
    struct build b = {.arena = &g->arena, .o = o, .e = e ? e : &own};
    b.max_work = o->max_work ? o->max_work : DEFAULT_WORK;
    status code = compile_into(&b, g, k, text, n);
    if (code != OK) {
        grammar_unref(g);
        return code;
    }
    *out = g;
    return OK;
}

struct grammar *grammar_ref(struct grammar *g)
{
    atomic_fetch_add_explicit(&g->refs, 1, memory_order_relaxed);
    return g;
}

void grammar_unref(struct grammar *g)
{
    if (!g || atomic_fetch_sub_explicit(&g->refs, 1, memory_order_acq_rel) != 1) return;
    mask_cache_free(atomic_load(&g->masks));
    arena_deinit(&g->arena);
    free(g->dropped);
    free(g);
}

size_t grammar_bytes(const struct grammar *g)
{
    return sizeof *g + g->arena.used + mask_cache_bytes(atomic_load(&g->masks));
}

const char *grammar_dropped(const struct grammar *g)
{
    return g->dropped ? g->dropped : "";
}
