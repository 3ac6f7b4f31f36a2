/* The pieces of a streamed answer as they may go to the client, and what is needed to go on elsewhere when
 * its worker dies.
 *
 * A worker writes, between the frames of an answer, lines ": corral {...}" that say from which tokens they
 * came. Such lines are taken out, and frames are given out only up to the last of them: so the client has
 * exactly what the journal says, and another worker that is given the journal goes on with the very next
 * byte. Without a journal, whole frames are given out, so that an error can be said behind them. */
#ifndef CORRAL_GATEWAY_JOURNAL_H
#define CORRAL_GATEWAY_JOURNAL_H

#include <jansson.h>

#include "base/buf.h"

struct journal_choice { int32_t *token; size_t n, cap; };
struct journal {
    bool lines;  /* frames are lines (NDJSON), not events that end with an empty line */
    bool kept;   /* a journal was asked for; cleared when its first line does not come first */
    bool lost;   /* it was no journal, or too long: no going on elsewhere */
    bool noted;  /* at least one line of it came */
    bool ended;  /* it says that the answer is whole */
    json_t *head; /* all but the tokens: id, created, seed, ... the last value counts */
    struct journal_choice *choice;
    size_t n_choice, n_token;
    uint64_t sequence; /* the last "sequence_number" that was given out */
    /* inside */
    struct buf pending; /* came, not given out */
    size_t line, scanned; /* in pending: where the unfinished line begins, how far it was looked at */
    bool   events, blank; /* pending has more than comments; an empty line is to be dropped */
};

void journal_init(struct journal *j, bool lines);
void journal_deinit(struct journal *j);
/* More of the answer came; what may go to the client is appended to out. */
void journal_feed(struct journal *j, const char *p, size_t n, struct buf *out);
/* The answer is whole: whatever is left goes out. */
void journal_finish(struct journal *j, struct buf *out);
/* Its worker died: what was not given out is dropped, it will come again. */
void journal_cut(struct journal *j);
bool journal_resumes(const struct journal *j);
/* {"id":...,"created":...,"seed":...,"t":[[choice,[ids...]],...]} */
void journal_write(const struct journal *j, struct buf *out);

#endif
