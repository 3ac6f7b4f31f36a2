/* The owner's view of the client: libcurl's multi handle on an event loop, and the calls on it. */
#ifndef CORRAL_HTTP_CLIENT_INT_H
#define CORRAL_HTTP_CLIENT_INT_H

#include <curl/curl.h>
#include <event2/event.h>

#include "http/client.h"

enum { CALL_MAX_HEAD = 64 * 1024, CALL_WHY = CURL_ERROR_SIZE };

struct http_client {
    struct event_base *base;
    bool               own_base;
    CURLM             *multi;
    struct event      *timer; /* libcurl's */
    struct event      *kick;  /* there is something in todo */
    struct event      *alarm; /* the end of http_client_wait */
    struct http_call  *calls, *todo;
};

struct http_call {
    struct http_client *client;
    struct http_call   *prev, *next, *todo_next;
    bool                todo, added, cancelled;
    CURL               *easy;
    struct curl_slist  *fields;
    const struct http_call_ops *ops;
    void               *user;
    bool (*may_connect)(void *user, const struct sockaddr *a);
    void               *may_connect_user;
    uint64_t            from, max_bytes;
    uint32_t            connect_ms, first_byte_ms, stall_ms, total_ms;
    int64_t             body_length;
    bool                follows, no_body /* HEAD */, http2;

    bool       want_pause, paused; /* the answer: asked for, and told to libcurl */
    bool       body_waits, woken;  /* the request's body: pull had nothing, and has again */
    bool       body_done, sent, head_done;
    struct buf out;                      /* of the request's body, from out_at */
    size_t     out_at;
    struct buf head;                     /* "name\0value\0" ... of the answer */
    int        code;
    char      *url;

    struct event *timer;
    int64_t       timer_at_us, start_us, active_us, connect_us, first_byte_us;
    uint64_t      bytes_in, bytes_out;
    enum http_cause cause; /* set by a callback of ours, before libcurl reports its own */
    char          why[CALL_WHY], curl_why[CALL_WHY];
};

/* client.c */
status client_new(struct http_client **out, struct event_base *base, struct error *e);
void   client_todo(struct http_call *c); /* look at it from the loop, soon */

/* call.c */
void call_do(struct http_call *c); /* what was asked for since; may free c */
void call_done(struct http_call *c, CURLcode r); /* libcurl is through with it; frees c */
void call_free(struct http_call *c);
void call_end(struct http_call *c, enum http_cause cause, const char *why); /* tells, frees */
void call_active(struct http_call *c); /* something moved: its deadlines begin anew */

/* call_io.c */
void call_set_options(struct http_call *c, const struct http_call_options *o);
void call_note(struct http_call *c, enum http_cause cause, const char *why); /* before libcurl fails;
                                                                              * the first counts */
bool call_redirects(const struct http_call *c); /* does libcurl go on to another
                                                 * place instead of this answer? */
const char *head_find(const struct buf *head, const char *name);

#endif
