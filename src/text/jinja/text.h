/* Python's str operations that filters and methods share. Strings in, views or new strings out; what is
 * JJ_SAFE stays so. */
#ifndef CORRAL_JINJA_TEXT_H
#define CORRAL_JINJA_TEXT_H

#include "text/jinja/eval.h"
#include "text/jinja/unicode.h"

struct jj_value jj_upper(struct jj *r, struct jj_value s);
struct jj_value jj_lower(struct jj *r, struct jj_value s);
struct jj_value jj_capitalize(struct jj *r, struct jj_value s);
struct jj_value jj_title(struct jj *r, struct jj_value s);
struct jj_value jj_swapcase(struct jj *r, struct jj_value s);
struct jj_value jj_casefold(struct jj *r, struct jj_value s);
/* At most `count` times; -1: always. */
struct jj_value jj_replace(struct jj *r, struct jj_value s, struct jj_value old, struct jj_value new,
                           int64_t count);
/* sep NULL: whitespace. */
struct jj_list *jj_split(struct jj *r, struct jj_value s, const struct jj_value *sep, int64_t max);
struct jj_list *jj_rsplit(struct jj *r, struct jj_value s, const struct jj_value *sep, int64_t max);
struct jj_list *jj_split_lines(struct jj *r, struct jj_value s, bool keep_ends);
/* Fill up to width characters: left and right say how much goes where when both are set (str.center). */
struct jj_value jj_pad(struct jj *r, struct jj_value s, int64_t width, struct jj_value fill, bool left,
                       bool right);
void jj_write_cp(struct jj *r, uint32_t cp);

#endif
