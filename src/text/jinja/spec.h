/* One value laid out as a conversion says: what %-formatting and str.format have in common. */
#ifndef CORRAL_JINJA_SPEC_H
#define CORRAL_JINJA_SPEC_H

#include "text/jinja/eval.h"

enum { JJ_MAX_WIDTH = 1 << 20, JJ_MAX_PRECISION = 1000 };

struct jj_spec {
    uint32_t fill;  /* 0: none given */
    char align;     /* < > = ^ or 0 */
    char sign;      /* + - blank or 0 */
    bool alternate; /* # */
    bool zero;
    char group;        /* , _ or 0 */
    int64_t width;     /* 0: none */
    int64_t precision; /* -1: none */
    char type;         /* 0: none */
};

void jj_write_int(struct jj *r, int64_t v, const struct jj_spec *s);  /* type b c d o x X n */
void jj_write_float(struct jj *r, double v, const struct jj_spec *s); /* type e E f F g G n % or none */
void jj_write_text(struct jj *r, struct jj_value v, const struct jj_spec *s);

#endif
