/* Values as text, in Python's words. Everything is written to the render's output (see jj_text_begin). */
#ifndef CORRAL_JINJA_FORMAT_H
#define CORRAL_JINJA_FORMAT_H

#include "text/jinja/eval.h"

void jj_write_str(struct jj *r, struct jj_value v);         /* str(v) */
void jj_write_repr(struct jj *r, struct jj_value v);        /* repr(v) */
struct jj_value jj_to_str(struct jj *r, struct jj_value v); /* str(v); a string stays what it is */
void jj_write_escaped(struct jj *r, struct jj_value v);     /* & < > ' " as HTML entities, unless JJ_SAFE */
struct jj_value jj_escape(struct jj *r, struct jj_value v); /* the same as a JJ_SAFE string */
size_t jj_float_repr(char out[40], double f);               /* "1.0", "1e+16", "nan" */

struct jj_json_style {
    bool ensure_ascii, sort_keys;
    bool indented;
    struct jj_value indent;       /* a string, when indented */
    struct jj_value comma, colon; /* separators */
};
void jj_write_json(struct jj *r, struct jj_value v, const struct jj_json_style *s);

/* "..." % v, and "...".format(args). */
struct jj_value jj_percent(struct jj *r, struct jj_value fmt, struct jj_value v);
struct jj_value jj_brace(struct jj *r, struct jj_value fmt, const struct jj_args *args);
/* One number or string by a format specification of str.format. */
void jj_write_spec(struct jj *r, struct jj_value v, struct jj_value spec);

#endif
