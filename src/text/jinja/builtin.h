/* Filters, tests, methods and global functions: rows of tables, all called the same way. */
#ifndef CORRAL_JINJA_BUILTIN_H
#define CORRAL_JINJA_BUILTIN_H

#include "text/jinja/eval.h"

enum { JJ_MAX_PARAMS = 6 };

struct jj_call {
    const struct jj_builtin *builtin;
    struct jj_value self;             /* what is filtered, tested, or whose method it is */
    struct jj_value a[JJ_MAX_PARAMS]; /* in the order of params; JJ_MISSING: not given */
    const struct jj_args *args;       /* as they came */
};
typedef struct jj_value jj_fn(struct jj *r, const struct jj_call *c);

struct jj_builtin {
    const char *name;
    const char *params; /* "sep maxsplit"; NULL: the function reads args itself */
    uint8_t n_need;     /* how many of them must be given */
    jj_fn *fn;
    bool lenient; /* only with jinja_options.lenient */
};

struct jj_function {
    const struct jj_builtin *builtin;
    struct jj_value self; /* JJ_MISSING: a global */
};

/* NULL: there is none. */
const struct jj_builtin *jj_find_filter(struct jj_value name);
const struct jj_builtin *jj_find_test(struct jj_value name);
const struct jj_builtin *jj_find_global(struct jj_value name);
const struct jj_builtin *jj_find_method(struct jj_value self, struct jj_value name);
/* Search a table that ends with a row without a name. */
const struct jj_builtin *jj_find_row(const struct jj_builtin *table, struct jj_value name);

struct jj_value jj_call_builtin(struct jj *r, const struct jj_builtin *b, struct jj_value self,
                                const struct jj_args *args);
struct jj_value jj_call_value(struct jj *r, struct jj_value f, const struct jj_args *args);
bool jj_callable(struct jj_value v);

/* Tables of the files that have them. */
extern const struct jj_builtin jj_filters_text[], jj_filters_seq[], jj_filters_number[], jj_tests[],
    jj_methods_str[], jj_methods_str_is[], jj_methods_list[], jj_methods_tuple[], jj_methods_dict[],
    jj_methods_loop[], jj_methods_cycler[], jj_globals[];

/* Arguments of a builtin; the errors name it. */
int64_t jj_want_int(struct jj *r, struct jj_value v, int64_t missing); /* bool or int */
bool jj_want_bool(struct jj *r, struct jj_value v, bool missing);      /* truth */
struct jj_value jj_want_str(struct jj *r, struct jj_value v, const char *missing);

/* Filters and tests by a name that is a value, as map() and select() take them; an error when there is none.
 */
struct jj_value jj_apply_filter(struct jj *r, struct jj_value name, struct jj_value self,
                                const struct jj_args *args);
bool jj_apply_test(struct jj *r, struct jj_value name, struct jj_value self, const struct jj_args *args);

/* What getattr() finds: a method or a field, not an element. JJ_MISSING: nothing. attr.c */
struct jj_value jj_real_attr(struct jj *r, struct jj_value o, struct jj_value name);

/* Sort by key (NULL: by the values themselves), in the same order where keys are equal. */
void jj_sort(struct jj *r, struct jj_value *item, struct jj_value *key, size_t n, bool reverse);

#endif
