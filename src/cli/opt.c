#include "cli/opt.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

static bool is_heading(const struct opt *o)
{
    return !o->name[0];
}

/* Edits between two short names; two neighbours in the wrong order count as one (Damerau 1964, in the
 * restricted form that edits no letter twice). */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 48 };
    uint8_t d[LONGEST + 1][LONGEST + 1];
    size_t na = strlen(a), nb = strlen(b);
    if (na > LONGEST || nb > LONGEST) return SIZE_MAX;
    for (size_t i = 0; i <= na; i++) d[i][0] = (uint8_t)i;
    for (size_t j = 0; j <= nb; j++) d[0][j] = (uint8_t)j;
    for (size_t i = 1; i <= na; i++) {
        for (size_t j = 1; j <= nb; j++) {
            int best = MIN(d[i - 1][j - 1] + (a[i - 1] != b[j - 1]), MIN(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                best = MIN(best, d[i - 2][j - 2] + 1);
            d[i][j] = (uint8_t)best;
        }
    }
    return d[na][nb];
}

const char *opt_nearest(const char *word, const char *(*name)(const void *ctx, size_t i), const void *ctx)
{
    size_t n = strlen(word), best = SIZE_MAX;
    const char *nearest = NULL, *s;
    for (size_t i = 0; (s = name(ctx, i)); i++) {
        if (!*s) continue; /* a heading */
        size_t d = distance(word, s);
        if (n >= 3 && strlen(s) > n && !strncmp(word, s, n)) d = MIN(d, 1); /* a beginning counts as near */
        if (d < best) {
            best = d;
            nearest = s;
        }
    }
    return best <= MAX(1, n / 3) ? nearest : NULL;
}

static const char *name_at(const void *ctx, size_t i)
{
    return ((const struct opt *)ctx)[i].name;
}

void opt_env_name(char out[64], const char *name)
{
    snprintf(out, 64, "CORRAL_%s", name);
    for (char *p = out + 7; *p; p++) *p = (char)(*p == '-' ? '_' : toupper((unsigned char)*p));
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const word[] = {"0", "1", "false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < COUNT_OF(word); i++) {
        if (!strcmp(text, word[i])) {
            *out = i & 1;
            return true;
        }
    }
    return false;
}

static bool parse_int(const char *text, int64_t *out)
{
    char *end;
    errno = 0;
    long long v = strtoll(text, &end, 0);
    if (end == text || errno || isspace((unsigned char)*text)) return false;
    static const char suffix[] = "kKMG";
    static const int64_t factor[] = {1 << 10, 1 << 10, 1 << 20, 1 << 30};
    const char *s = *end ? strchr(suffix, *end) : NULL;
    int64_t unit = s ? factor[s - suffix] : 1;
    if (end[s != NULL]) return false;
    return checked_mul((int64_t)v, unit, out);
}

static bool parse_float(const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return end != text && !*end && !isspace((unsigned char)*text) && isfinite(*out);
}

/* "0 to 2", "at least 1"; empty when there is none. */
static void range_text(const struct opt *o, char *out, size_t n)
{
    bool whole = o->type == OPT_INT;
    if (o->min == 0 && o->max == 0)
        out[0] = 0;
    else if (isinf(o->max))
        snprintf(out, n, "at least %.*f", whole ? 0 : 2, o->min);
    else if (whole)
        snprintf(out, n, "%.0f to %.0f", o->min, o->max);
    else
        snprintf(out, n, "%g to %g", o->min, o->max);
}

static status check_range(const struct opt *o, double v, const char *source, const char *text,
                          struct error *e)
{
    if ((o->min == 0 && o->max == 0) || (v >= o->min && v <= o->max)) return OK;
    char range[96];
    range_text(o, range, sizeof range);
    return fail(e, ERR_ARG, "%s: %s is out of range, it must be %s%s%s", source, text, range,
                o->unit ? " " : "", o->unit ? o->unit : "");
}

static bool is_choice(const char *choices, const char *text)
{
    size_t n = strlen(text);
    for (const char *p = choices; *p;) {
        size_t k = strcspn(p, "|");
        if (k == n && !memcmp(p, text, n)) return true;
        p += k + (p[k] == '|');
    }
    return false;
}

/* Read text into the option's target. source names where it came from: "--temp" or "CORRAL_TEMP". */
static status set_value(const struct opt *o, const char *text, const char *source, struct error *e)
{
    switch (o->type) {
    case OPT_BOOL:
        if (!parse_bool(text, o->at)) return fail(e, ERR_ARG, "%s: '%s' is not true or false", source, text);
        return OK;
    case OPT_INT: {
        int64_t v;
        if (!parse_int(text, &v))
            return fail(e, ERR_ARG, "%s: '%s' is not a whole number (64 bits; k, M, G may follow)", source,
                        text);
        TRY(check_range(o, (double)v, source, text, e));
        *(int64_t *)o->at = v;
        return OK;
    }
    case OPT_FLOAT: {
        double v;
        if (!parse_float(text, &v)) return fail(e, ERR_ARG, "%s: '%s' is not a number", source, text);
        TRY(check_range(o, v, source, text, e));
        *(double *)o->at = v;
        return OK;
    }
    case OPT_STR:
        if (o->choices && !is_choice(o->choices, text))
            return fail(e, ERR_ARG, "%s: '%s' is none of %s", source, text, o->choices);
        *(const char **)o->at = text;
        return OK;
    case OPT_LIST: {
        struct opt_list *list = o->at;
        list->item = mem_realloc(list->item, list->n + 1, sizeof *list->item);
        list->item[list->n++] = text;
        return OK;
    }
    }
    return fail(e, ERR_ARG, "%s: unknown kind of option", source);
}

/* The row that word means, with what stands after '='; NULL: no flag of the table. */
static const struct opt *find_flag(const struct opt *opts, const char *word, const char **value,
                                   bool *negated)
{
    *value = NULL;
    *negated = false;
    if (word[0] != '-' || !word[1]) return NULL;
    if (word[1] != '-') {
        for (const struct opt *o = opts; o->name; o++)
            if (o->letter && word[1] == o->letter && !word[2]) return o;
        return NULL;
    }
    const char *name = word + 2;
    size_t n = strcspn(name, "=");
    if (name[n]) *value = name + n + 1;
    for (const struct opt *o = opts; o->name; o++) {
        if (is_heading(o)) continue;
        if (strlen(o->name) == n && !memcmp(o->name, name, n)) return o;
        if (o->type == OPT_BOOL && n > 3 && !memcmp(name, "no-", 3) && strlen(o->name) == n - 3 &&
            !memcmp(o->name, name + 3, n - 3)) {
            *negated = true;
            return o;
        }
    }
    return NULL;
}

static status unknown_flag(const struct opt *opts, const char *word, struct error *e)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(word, "="), word);
    const char *near = opt_nearest(name + strspn(name, "-"), name_at, opts);
    if (near) return fail(e, ERR_ARG, "unknown option %s; did you mean --%s?", name, near);
    return fail(e, ERR_ARG, "unknown option %s", name);
}

/* One flag at argv[*i]; moves *i over a value that is a word of its own. */
static status parse_flag(const struct opt *opts, int argc, char **argv, int *i, bool *given, struct error *e)
{
    const char *word = argv[*i], *value;
    bool negated;
    const struct opt *o = find_flag(opts, word, &value, &negated);
    if (!o) return unknown_flag(opts, word, e);
    char source[64];
    snprintf(source, sizeof source, "--%s", o->name);
    if (o->type == OPT_BOOL) {
        if (negated && value) return fail(e, ERR_ARG, "--no-%s takes no value", o->name);
        if (!value) value = negated ? "false" : "true";
    } else if (!value) {
        const char *v;
        bool n;
        if (*i + 1 >= argc) return fail(e, ERR_ARG, "%s needs a value", word);
        if (find_flag(opts, argv[*i + 1], &v, &n))
            return fail(e, ERR_ARG, "%s needs a value, but %s follows (--%s=%s if that is the value)", word,
                        argv[*i + 1], o->name, argv[*i + 1]);
        value = argv[++*i];
    }
    if (o->type == OPT_LIST && !given[o - opts])
        ((struct opt_list *)o->at)->n = 0; /* flags replace, not add */
    given[o - opts] = true;
    if (o->seen) *o->seen = true;
    return set_value(o, value, source, e);
}

static status set_defaults(const struct opt *opts, struct error *e)
{
    for (const struct opt *o = opts; o->name; o++) {
        if (o->seen) *o->seen = false;
        if (o->def) TRY(set_value(o, o->def, o->name, e));
    }
    return OK;
}

static status set_from_environment(const struct opt *opts, struct error *e)
{
    for (const struct opt *o = opts; o->name; o++) {
        char name[64];
        opt_env_name(name, o->name);
        const char *value = is_heading(o) ? NULL : getenv(name);
        if (!value || !*value) continue;
        if (o->type == OPT_LIST) ((struct opt_list *)o->at)->n = 0;
        TRY(set_value(o, value, name, e));
        if (o->seen) *o->seen = true;
    }
    return OK;
}

status opt_parse(const struct opt *opts, int argc, char **argv, const char **word, size_t *n_word,
                 size_t max_word, struct error *e)
{
    *n_word = 0;
    TRY(set_defaults(opts, e));
    TRY(set_from_environment(opts, e));
    size_t n = 0;
    while (opts[n].name) n++;
    bool *given = mem_zalloc(n + 1, sizeof *given), flags = true;
    status r = OK;
    for (int i = 1; i < argc && r == OK; i++) {
        if (flags && !strcmp(argv[i], "--")) {
            flags = false;
        } else if (flags && argv[i][0] == '-' && argv[i][1]) {
            r = parse_flag(opts, argc, argv, &i, given, e);
        } else if (*n_word == max_word) {
            r = fail(e, ERR_ARG, "unexpected argument '%s'", argv[i]);
        } else {
            word[(*n_word)++] = argv[i];
        }
    }
    free(given);
    return r;
}

status opt_set(const struct opt *opts, const char *name, const char *value, struct error *e)
{
    for (const struct opt *o = opts; o->name; o++)
        if (!is_heading(o) && !strcmp(o->name, name)) {
            if (o->type == OPT_LIST) ((struct opt_list *)o->at)->n = 0;
            return set_value(o, value, name, e);
        }
    const char *near = opt_nearest(name, name_at, opts);
    if (near) return fail(e, ERR_ARG, "there is no setting '%s'; did you mean '%s'?", name, near);
    return fail(e, ERR_ARG, "there is no setting '%s'", name);
}

void opt_show(const struct opt *opts, FILE *to)
{
    for (const struct opt *o = opts; o->name; o++) {
        if (is_heading(o)) continue;
        fprintf(to, "  %-22s ", o->name);
        const struct opt_list *list = o->at;
        const char *text = o->type == OPT_STR ? *(const char **)o->at : NULL;
        switch (o->type) {
        case OPT_BOOL: fputs(*(bool *)o->at ? "on" : "off", to); break;
        case OPT_INT: fprintf(to, "%lld", (long long)*(int64_t *)o->at); break;
        case OPT_FLOAT: fprintf(to, "%g", *(double *)o->at); break;
        case OPT_STR: fputs(text ? text : "-", to); break;
        case OPT_LIST:
            if (!list->n) fputc('-', to);
            for (size_t i = 0; i < list->n; i++) fprintf(to, "%s'%s'", i ? " " : "", list->item[i]);
            break;
        }
        fputc('\n', to);
    }
}

static void add_flag(struct opt_list *out, const char *name, const char *value)
{
    struct buf b = {0};
    buf_addf(&b, "--%s=%s", name, value);
    out->item = mem_realloc(out->item, out->n + 1, sizeof *out->item);
    out->item[out->n++] = b.data;
}

void opt_flags(const struct opt *opts, struct opt_list *out)
{
    for (const struct opt *o = opts; o->name; o++) {
        const struct opt_list *list = o->at;
        char number[40] = "";
        int64_t i = 0;
        double d = 0;
        bool b = false;
        if (is_heading(o)) continue;
        switch (o->type) {
        case OPT_BOOL:
            if (o->def) parse_bool(o->def, &b);
            if (*(bool *)o->at != b) add_flag(out, o->name, b ? "false" : "true");
            break;
        case OPT_INT:
            if (o->def) parse_int(o->def, &i);
            snprintf(number, sizeof number, "%lld", (long long)*(int64_t *)o->at);
            if (*(int64_t *)o->at != i) add_flag(out, o->name, number);
            break;
        case OPT_FLOAT:
            if (o->def) parse_float(o->def, &d);
            snprintf(number, sizeof number, "%.17g", *(double *)o->at);
            if (*(double *)o->at != d) add_flag(out, o->name, number);
            break;
        case OPT_STR: {
            const char *text = *(const char **)o->at;
            if (text && (!o->def || strcmp(text, o->def) != 0)) add_flag(out, o->name, text);
            break;
        }
        case OPT_LIST:
            for (size_t k = 0; k < list->n; k++) add_flag(out, o->name, list->item[k]);
            break;
        }
    }
}

bool opt_wants_help(const struct opt *opts, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
        const char *value;
        bool negated;
        const struct opt *o = find_flag(opts, argv[i], &value, &negated);
        if (o && o->type != OPT_BOOL && !value) i++;
    }
    return false;
}

enum { HELP_INDENT = 28, HELP_WIDTH = 100 };

/* Print text in words from column `at`, continuing lines at the help column. */
static size_t print_wrapped(FILE *to, const char *text, size_t at)
{
    while (*text) {
        size_t n = strcspn(text, " ");
        if (at > HELP_INDENT && at + 1 + n > HELP_WIDTH) {
            fprintf(to, "\n%*s", HELP_INDENT, "");
            at = HELP_INDENT;
        } else if (at > HELP_INDENT) {
            fputc(' ', to);
            at++;
        }
        fprintf(to, "%.*s", (int)n, text);
        at += n;
        text += n + strspn(text + n, " ");
    }
    return at;
}

static void help_row(const struct opt *o, FILE *to)
{
    char flag[96], detail[256], range[96], env[64];
    const char *arg = o->arg ? o->arg : o->type == OPT_INT ? "N" : o->type == OPT_FLOAT ? "X" : "TEXT";
    int n = o->letter ? snprintf(flag, sizeof flag, "  -%c, --%s", o->letter, o->name)
                      : snprintf(flag, sizeof flag, "      --%s", o->name);
    if (o->type != OPT_BOOL) n += snprintf(flag + n, sizeof flag - (size_t)n, " %s", arg);
    fputs(flag, to);
    if (n > HELP_INDENT - 2) {
        fputc('\n', to);
        n = 0;
    }
    fprintf(to, "%*s", HELP_INDENT - n, "");
    size_t at = print_wrapped(to, o->help ? o->help : "", HELP_INDENT);

    range_text(o, range, sizeof range);
    opt_env_name(env, o->name);
    bool on = false;
    if (o->type == OPT_BOOL && o->def) parse_bool(o->def, &on);
    const char *def = o->type != OPT_BOOL ? o->def : on ? "on" : NULL;
    snprintf(detail, sizeof detail, "[%s%s%s%s%s%s%s%s%s%s]", o->choices ? o->choices : "",
             o->choices ? "; " : "", def && *def ? "default " : "", def && *def ? def : "",
             def && *def && o->unit ? " " : "", def && *def && o->unit ? o->unit : "",
             def && *def ? "; " : "", range, range[0] ? "; " : "", env);
    at = print_wrapped(to, detail, at);
    if (o->type == OPT_LIST) print_wrapped(to, "(may be repeated)", at);
    fputc('\n', to);
}

void opt_help(const struct opt *opts, FILE *to)
{
    for (const struct opt *o = opts; o->name; o++) {
        if (is_heading(o))
            fprintf(to, "\n%s:\n", o->help);
        else
            help_row(o, to);
    }
}
