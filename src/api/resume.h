/* Streams that another worker can go on with, byte for byte.
 *
 * Who asks with `X-Corral-Journal: 1` (a gateway: api_options.journal) gets lines of journal between the
 * frames of a streamed answer, ": corral {...}" (behind an event's frames a comment with its empty
 * line). What stands before such a line is what the journal up to there makes again; so the gateway
 * passes on frames up to the last line, without the lines. Members of the JSON:
 *
 *     id, created, seed   the first line: which answer this is; seed in decimal digits
 *     history             ... and the messages that it was given from this worker's memory (a session's,
 *                         those before an earlier response)
 *     t                   [[choice, [ids]], ...]  tokens since the last line
 *     s                   [[choice, x], ...]  sample_result.learned of each choice's last token
 *     p                   [[choice, [[logprob, [[id, logprob], ...]], ...]], ...]  of the last tokens,
 *                         which were not sent yet
 *     e                   [[choice, finish, cached], ...]  choices whose end was sent
 *     b, end              true: something was sent; all was
 *
 * Of t all lines are joined, of every other member the last one counts. The result is a JSON object of N
 * bytes. The same request with `X-Corral-Replay: N`, and that object in front of its body, goes on
 * behind it: its tokens pass through the same detokenizer, parser and renderer, what these write is
 * dropped, and the engine is given them (engine_request.given). A stream with a journal is rendered
 * token by token, whatever arrives together: so it depends on its tokens alone. */
#ifndef CORRAL_API_RESUME_H
#define CORRAL_API_RESUME_H

#include "api/generation.h"

/* Headers: r->journal, and r->replay with the journal that is cut off the front of body. */
bool resume_read(struct request *r, const struct api *api, const struct http_exchange *x,
                 struct http_str *body, struct fault *f);
uint64_t resume_seed(const struct request *r); /* of r->replay */
/* Messages of this worker's memory (owned; NULL: none), or of that one's which began the answer; kept
 * with r. */
json_t *resume_memory(struct request *r, json_t *messages);
/* The identity of what is resumed, into a generation that was just made. */
void resume_identity(struct generation *g);
/* Its tokens, in the stage of preparing. */
bool resume_replay(struct generation *g, struct fault *f);
/* The first line, before any frame. */
void resume_begin(struct generation *g, struct buf *out);
/* A line behind the frames that are in out, if it has any, or if there are new tokens. */
void resume_write(struct generation *g, struct buf *out);

#endif
