/* A running request: its choices in the engine, their text so far, and how it is written out.
 *
 * Belongs to the HTTP loop's thread, but for the queue that the engine's callback fills. It is counted: the
 * exchange holds it and so does every choice that has not seen its END; the last one frees it. */
#ifndef CORRAL_API_GENERATE_H
#define CORRAL_API_GENERATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/request.h"
#include "text/stream.h"

struct token_note { /* of a token whose log-probabilities were asked for */
    int32_t token;
    float logprob;
    size_t start;          /* bytes of text before it */
    uint32_t start_chars;  /* the same in characters */
    uint32_t top_at, n_top; /* in choice.top */
};

struct choice {
    struct generation *g;
    uint32_t index, prompt; /* index among all choices; which prompt */
    uint64_t engine_id;
    bool submitted, ended;  /* ended: END came, or a stop string was met */
    bool stopped;           /* by a stop string: what was held back is not shown */
    bool closed;            /* streamed to its end */
    enum finish_reason finish;
    struct error error;     /* FINISH_ERROR */
    struct text_stream *detok;
    struct buf text;        /* streaming: since the last chunk; else all of it */
    uint32_t n_tokens;
    size_t piece_bytes, text_bytes; /* of the tokens taken in; of the text that is certain */
    uint32_t piece_chars;
    struct token_note *note;
    size_t n_note, cap_note, n_written; /* of which the first n_written were rendered */
    struct sample_logprob *top;
    size_t n_top, cap_top;
    struct engine_timing timing;
};

struct generation {
    const struct api_options *api;
    const struct renderer *render;
    struct request req;
    struct http_exchange *x; /* NULL when it is over */
    struct http_waker *waker;
    atomic_uint refs;
    char id[48];
    int64_t created;
    struct choice *choice;
    uint32_t n_choice, n_open; /* choices that have not ended */
    bool streaming;            /* the response's head was sent */
    bool begun;                /* the first event was written */
    bool spoke, ping;          /* something was written since the last tick; write a comment if there is nothing else */

    pthread_mutex_t lock; /* guards inbox; the rest is the loop's */
    struct inbox {
        struct arrival *item;
        struct sample_logprob *top;
        size_t n, cap, n_top, cap_top;
        bool overflow;
    } inbox, taken;
};

/* How a family writes a generation. Streamed: begin, then delta as text comes, one last per choice, end.
 * At once: whole. */
struct renderer {
    const char *stream_type;
    void (*begin)(struct generation *g, struct buf *out);
    void (*delta)(struct generation *g, struct choice *c, struct buf *out);
    void (*last)(struct generation *g, struct choice *c, struct buf *out);
    void (*end)(struct generation *g, struct buf *out);
    void (*whole)(struct generation *g, struct buf *out);
    void (*error)(const struct fault *f, struct buf *out);        /* a body */
    void (*error_event)(const struct fault *f, struct buf *out);  /* on a stream that has begun */
};
extern const struct renderer openai_chat, openai_completion;

/* Start req (moved in) and answer on x. */
void generate(struct http_exchange *x, const struct api_options *api, const struct renderer *render,
              struct request *req);
void reply_fault(struct http_exchange *x, const struct renderer *render, const struct fault *f);
/* The notes of c that may be written now: those whose text is certain. */
size_t notes_ready(const struct choice *c);

#endif
