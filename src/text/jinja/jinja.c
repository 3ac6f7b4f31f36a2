#include "text/jinja/jinja.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja/builtin.h"
#include "text/jinja/parse.h"

enum { MAX_SOURCE = 8 << 20, PARSE_MEMORY = 512 << 20 };

/* --- errors --- */

static void find_line(const char *src, size_t n, uint32_t at, uint32_t *line, uint32_t *column)
{
    *line = *column = 1;
    for (size_t i = 0; i < at && i < n; i++) {
        if (src[i] == '\n') {
            ++*line;
            *column = 1;
        } else if (((uint8_t)src[i] & 0xC0) != 0x80) {
            ++*column;
        }
    }
}

static status report(const struct jj_trap *trap, const char *src, size_t n, struct jinja_fault *fault,
                     struct error *e)
{
    struct jinja_fault f = {.cause = trap->cause};
    find_line(src, n, trap->at, &f.line, &f.column);
    if (fault) *fault = f;
    if (trap->cause == JINJA_RAISED) return fail(e, trap->code, "%s", trap->msg);
    return fail(e, trap->code, "line %u, column %u: %s", f.line, f.column, trap->msg);
}

static status report_limit(struct jinja_fault *fault, struct error *e, const char *msg)
{
    if (fault) *fault = (struct jinja_fault){.cause = JINJA_LIMIT};
    return fail(e, ERR_LIMIT, "%s", msg);
}

/* --- parsing --- */

static void parse_source(struct jinja *t, const char *src, size_t n)
{
    struct jj_parser *p = jj_alloc(&t->arena, 1, sizeof *p);
    t->src = jj_normalize(&t->arena, src, n, &t->n_src);
    p->arena = &t->arena;
    p->tmpl = t;
    t->n_loop = jj_intern(p, jj_strz("loop"));
    t->n_caller = jj_intern(p, jj_strz("caller"));
    t->n_varargs = jj_intern(p, jj_strz("varargs"));
    t->n_kwargs = jj_intern(p, jj_strz("kwargs"));
    jj_lex_init(&p->lex, &t->arena, t->src, t->n_src);
    t->body = jj_parse_template(p);
}

status jinja_parse(struct jinja **out, const char *src, size_t n, struct jinja_fault *fault, struct error *e)
{
    *out = NULL;
    if (n > MAX_SOURCE) return report_limit(fault, e, "the template is larger than 8 MiB");
    if (!utf8_valid(src, n)) {
        if (fault) *fault = (struct jinja_fault){.cause = JINJA_SYNTAX};
        return fail(e, ERR_FORMAT, "the template is not valid UTF-8");
    }
    struct jinja *t = mem_zalloc(1, sizeof *t);
    t->arena.max = PARSE_MEMORY;
    t->arena.trap = &t->trap;
    if (setjmp(t->trap.jump) == 0) {
        parse_source(t, src, n);
        *out = t;
        return OK;
    }
    status code = report(&t->trap, t->src ? t->src : "", t->n_src, fault, e);
    jinja_free(t);
    return code;
}

void jinja_free(struct jinja *t)
{
    if (!t) return;
    jj_arena_deinit(&t->arena);
    free(t);
}

/* --- rendering --- */

static void set_limits(struct jj *r, const struct jinja_limits *l)
{
    r->out_max = l->output_bytes ? MIN(l->output_bytes, (size_t)UINT32_MAX) : (size_t)64 << 20;
    r->arena.max = l->memory_bytes ? MIN(l->memory_bytes, (size_t)UINT32_MAX) : (size_t)256 << 20;
    jj_start_clock(r, l->steps ? l->steps : 50000000, l->cpu_ms ? l->cpu_ms : 3000);
    r->max_depth = l->depth ? l->depth : 1000;
}

static void set_now(struct jj *r, const struct tm *now)
{
    time_t t = time(NULL);
    if (now)
        r->now = *now;
    else
        localtime_r(&t, &r->now);
}

static void render(struct jj *r, const json_t *context)
{
    r->context = jj_from_json(r, context).dict;
    r->root = r->scope = jj_scope_new(r, NULL);
    jj_exec(r, &r->tmpl->body);
}

/* What there is to say, and out as it was before. */
static status render_failed(struct jj *r, size_t before, struct jinja_fault *fault, struct error *e)
{
    r->own_trap.at = r->node ? r->node->at : 0;
    r->out->n = before;
    r->out->failed = false;
    if (r->out->data) r->out->data[before] = 0;
    return report(&r->own_trap, r->tmpl->src, r->tmpl->n_src, fault, e);
}

status jinja_render(const struct jinja *t, const json_t *context, const struct jinja_options *options,
                    struct buf *out, struct jinja_fault *fault, struct error *e)
{
    static const struct jinja_options defaults;
    const struct jinja_options *o = options ? options : &defaults;
    size_t before = out->n;
    if (!json_is_object(context))
        return fail(e, ERR_ARG, "the variables of a template must be a JSON object");
    struct jj *r = mem_zalloc(1, sizeof *r);
    r->trap = r->arena.trap = &r->own_trap;
    r->tmpl = t;
    r->out = out;
    r->out_from = before;
    r->lenient = o->lenient;
    r->hash_seed = (uintptr_t)r * 0x9e3779b97f4a7c15u; /* nobody outside can prepare colliding keys */
    set_limits(r, &o->limits);
    set_now(r, o->now);
    status code = OK;
    if (setjmp(r->own_trap.jump) == 0)
        render(r, context);
    else
        code = render_failed(r, before, fault, e);
    json_decref(r->parsed);
    jj_arena_deinit(&r->arena);
    free(r);
    return code;
}
