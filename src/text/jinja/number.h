/* Numbers from text, as int() and float() read it. */
#ifndef CORRAL_JINJA_NUMBER_H
#define CORRAL_JINJA_NUMBER_H

#include "text/jinja/value.h"

bool jj_parse_int(struct jj_value s, int64_t base, int64_t *out); /* base 0: by its prefix */
bool jj_parse_float(struct jj_value s, double *out);

#endif
