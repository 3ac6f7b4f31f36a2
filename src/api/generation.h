/* A running request: its choices in the engine, what they have answered so far, and how that is written
 * out.
 *
 * Belongs to the HTTP loop's thread, but for the queue that the engine's callback fills and for the time
 * in which a worker prepares the prompt. It is counted: its owner (an exchange, or a connection of
 * WebSocket) holds it and so does every submission that has not seen its last END; the last one frees it.
 *
 * answer.c answers an exchange with one; whoever has another way out (WebSocket) uses the functions below. */
#ifndef CORRAL_API_GENERATION_H
#define CORRAL_API_GENERATION_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/api_int.h"
#include "api/request.h"
#include "text/stream.h"

struct token_note { /* of a token whose log-probabilities were asked for */
    int32_t token;
    float logprob;
    size_t start;           /* bytes of text before it */
    uint32_t start_chars;   /* the same in characters */
    uint32_t top_at, n_top; /* in choice.top */
};

/* A choice's answer grows in pieces. Their text stays in the choice, so a renderer sees each piece once when
 * streaming, and the whole at the end in either case. */
enum piece_kind {
    PIECE_CONTENT,   /* bytes at..at+n of choice.content */
    PIECE_REASONING, /* of choice.reasoning */
    PIECE_CALL,      /* a tool call begins: choice.call[call] has its id and name */
    PIECE_ARGS,      /* of choice.call[call].args */
    PIECE_CALL_END   /* its arguments are complete */
};
struct piece {
    enum piece_kind kind;
    uint32_t call;
    size_t at, n;
};
struct tool_call {
    char *id, *name;
    struct buf args; /* JSON text */
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
    struct engine_timing timing; /* valid once ended by END */

    struct buf content, reasoning;
    struct tool_call *call;
    uint32_t n_call;
    struct piece *piece; /* not yet rendered */
    size_t n_piece, cap_piece;
    uint32_t n_tokens, n_reasoning; /* generated; of those, thought */
    struct tok_ids ids;             /* of them, with request.keep_ids */
    struct tok_ids given, fresh;    /* of them: drawn by another worker; not in the journal yet */
    double learned;                 /* sample_result.learned of the last one */

    struct token_note *note; /* request.logprobs */
    size_t n_note, cap_note, n_written; /* of which the first n_written were rendered */
    struct sample_logprob *top;
    size_t n_top, cap_top;

    struct text_stream *detok;
    struct chat_parser *parser; /* NULL: all text is content */
    bool control_text;          /* the parser needs control tokens written out */
    struct buf text;            /* between the two */
    bool thinking;              /* the last text was reasoning */
    size_t piece_bytes, text_bytes; /* of the tokens taken in; of the text that is certain */
    uint32_t piece_chars;
};

enum generation_phase { GENERATION_NEW, GENERATION_PREPARING, GENERATION_PREPARED, GENERATION_RUNNING };

struct generation {
    const struct api *api;
    const struct renderer *render;
    struct request req;
    struct http_waker *waker;
    atomic_uint refs;
    char id[48];     /* for the log; families may show it behind a prefix of their own */
    int64_t created; /* seconds */
    int64_t began_ns; /* clock_ns when the request was read */
    struct choice *choice;
    uint32_t n_choice, n_open; /* choices that have not ended */
    bool submitted;            /* all its choices; before that a worker may prepare it */
    bool begun;                /* render->begin was called */
    bool failed;               /* a choice ended for a reason that is no answer */
    struct { bool head, begun; uint32_t n_closed; } journaled; /* what its journal says already */
    struct buf frames;         /* request.journal: rendered as tokens came, and not written yet */
    void *state;               /* the renderer's, made by its first call */
    int32_t *eog;              /* the model's end tokens and the request's */

    pthread_mutex_t lock; /* guards what is below; the rest is the loop's */
    enum generation_phase phase;
    bool abandoned; /* its owner has gone */
    bool refused;   /* preparing failed, with this fault */
    struct fault fault;
    struct submission {
        struct generation *g;
        uint32_t first; /* choice */
        atomic_uint n_running;
    } *submission; /* at the first choice of each */
    struct inbox {
        struct arrival *item;
        struct sample_logprob *top;
        size_t n, cap, n_top, cap_top;
        bool overflow;
    } inbox, taken; /* taken: the loop's */
};

/* How a family writes a generation. Streamed: begin, then delta for each piece, one last per choice, end.
 * At once: whole. What they write is complete frames ("data: ...\n\n", "{...}\n"). */
struct renderer {
    enum api_family family; /* of errors, pings and the type of a stream */
    void (*begin)(struct generation *g, struct buf *out); /* NULL: nothing */
    void (*delta)(struct generation *g, struct choice *c, const struct piece *p, struct buf *out);
    void (*last)(struct generation *g, struct choice *c, struct buf *out);
    void (*end)(struct generation *g, struct buf *out);
    void (*whole)(struct generation *g, struct buf *out);
    /* The number of an error's event, with FAMILY_RESPONSES. NULL: 0. */
    uint64_t (*sequence)(const struct generation *g);
    void (*free_state)(void *state);                             /* of g->state; may be NULL */
};

/* Start req (moved in), prepared on a worker if that may take long, and answer on x. */
void generate(struct http_exchange *x, const struct api *api, const struct renderer *render,
              struct request *req);
void reply_fault(struct http_exchange *x, const struct renderer *render, const struct fault *f);
void reply_body(struct http_exchange *x, struct buf *body); /* 200 and JSON; takes what body holds */

/* ---- without an exchange of its own ------------------------------------------------------------------ */

/* waker (owned from now on) is fired whenever generation_advance has something to do. */
struct generation *generation_new(const struct api *api, const struct renderer *render, struct request *req,
                                  struct http_waker *waker);
void generation_start(struct generation *g);
/* Take in what the engine has sent. False: it ended for the reason in f. */
bool generation_advance(struct generation *g, struct fault *f);
bool generation_has_output(const struct generation *g); /* something to render, or the end */
/* Write what is there as stream frames. True: that was the end. After generation_advance has said false:
 * what came before the fault. */
bool generation_stream(struct generation *g, struct buf *out);
/* The owner lets go; what still runs is cancelled. */
void generation_end(struct generation *g);

/* ---- for renderers ----------------------------------------------------------------------------------- */

/* What a piece added; NUL-terminated only at the end of its buffer. */
struct http_str piece_text(const struct choice *c, const struct piece *p);
/* "stop", "length", "tool_calls", "timeout", ... OpenAI's words. */
const char *choice_finish(const struct choice *c);
const char *choice_stop(const struct choice *c); /* the stop string that was met, or NULL */
/* The notes of c that may be written now: those whose text is certain. */
size_t notes_ready(const struct choice *c);
struct usage {
    uint64_t prompt, completion, cached, reasoning; /* tokens, of all prompts and choices */
    uint64_t guessed, guessed_right; /* of the request's prediction: tried, and those that were right */
    const char *cache_miss;                         /* why the cache did not have more of the first prompt */
};
void generation_usage(const struct generation *g, struct usage *u);

#endif
