/* Token by token to text that may be shown: never half a UTF-8 sequence, never a part of a stop string.
 *
 * One stream belongs to one generation and one thread. */
#ifndef CORRAL_TEXT_STREAM_H
#define CORRAL_TEXT_STREAM_H

#include "text/tokenizer.h"

struct text_stream;

/* stop: n_stop strings, copied. special: control tokens are written out too. */
status text_stream_new(struct text_stream **out, const struct tokenizer *t, const char *const *stop,
                       size_t n_stop, bool special, struct error *e);
void text_stream_free(struct text_stream *s);
/* Append to out the text that token id made certain. Returns true when a stop string was completed: the text
 * before it has been written, the stop string has not, and the stream is at its end. */
bool text_stream_push(struct text_stream *s, int32_t id, struct buf *out);
/* While paused, stop strings are not looked for: only one that lies behind counts. */
void text_stream_pause_stops(struct text_stream *s, bool pause);
/* End of generation: what was held back (an incomplete UTF-8 sequence becomes U+FFFD). */
void text_stream_finish(struct text_stream *s, struct buf *out);
const char *text_stream_stop(const struct text_stream *s); /* the stop string that was met, or NULL */

#endif
