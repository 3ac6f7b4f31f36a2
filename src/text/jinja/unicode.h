/* Characters as Python's str methods see them, and positions in UTF-8 text counted in characters. */
#ifndef CORRAL_JINJA_UNICODE_H
#define CORRAL_JINJA_UNICODE_H

#include "text/jinja/value.h"

bool jj_cp_space(uint32_t cp);
bool jj_cp_printable(uint32_t cp);
bool jj_cp_alpha(uint32_t cp);
bool jj_cp_decimal(uint32_t cp);
bool jj_cp_digit(uint32_t cp);
bool jj_cp_numeric(uint32_t cp);
bool jj_cp_upper(uint32_t cp);
bool jj_cp_lower(uint32_t cp);
bool jj_cp_title(uint32_t cp);
bool jj_cp_word(uint32_t cp); /* \w */
/* Up to three characters; returns how many. */
size_t jj_cp_to_upper(uint32_t out[3], uint32_t cp);
size_t jj_cp_to_lower(uint32_t out[3], uint32_t cp);
size_t jj_cp_to_title(uint32_t out[3], uint32_t cp);
size_t jj_cp_casefold(uint32_t out[3], uint32_t cp);

size_t jj_n_cp(struct jj_value s); /* characters of a string */
/* Byte where character i begins, i <= jj_n_cp. */
size_t jj_byte_of(struct jj_value s, size_t i);
/* Byte of the first occurrence from byte `from` on, or SIZE_MAX. */
size_t jj_find(struct jj_value s, struct jj_value needle, size_t from);
size_t jj_rfind(struct jj_value s, struct jj_value needle, size_t before);
struct jj_value jj_strip(struct jj_value s, const struct jj_value *chars, bool left,
                         bool right); /* chars NULL: space */

#endif
