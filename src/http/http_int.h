/* The owner's view of src/http: loops, connections, exchanges. One loop is one thread; a connection and its
 * exchange stay on the loop that accepted them. */
#ifndef CORRAL_HTTP_INT_H
#define CORRAL_HTTP_INT_H

#include <stdatomic.h>
#include <time.h>

#include <event2/event.h>

#include "http/h1.h"
#include "http/http.h"

struct bufferevent;
struct evconnlistener;

enum {
    HTTP_MAX_FIELDS = 64,
    HTTP_MAX_PARAMS = 4,
    OUT_HIGH_BYTES = 32 * 1024, /* stop producing when this much waits to be sent */
    OUT_LOW_BYTES = 8 * 1024,   /* and go on below this */
    SMALL_BODY_BYTES = 64 * 1024, /* bodies that nobody wants are read up to this, to keep the connection */
    LINGER_MS = 2000
};

/* A path pattern matched against a path. */
struct route_param { const char *name; size_t n_name; const char *value; /* NUL-terminated, owned by the exchange */ };
struct route_match {
    const struct http_route *route; /* NULL: see status */
    int                      status; /* 404 or 405 */
    char                     allow[128]; /* for 405 and OPTIONS */
    struct { struct http_str name, raw; } param[HTTP_MAX_PARAMS];
    size_t                   n_param;
};
void route_find(struct route_match *out, const struct http_route *routes, size_t n, struct http_str method,
                struct http_str path);
/* Decode %XX into out (n + 1 bytes); false for a bad escape or an encoded NUL. */
bool route_decode(char *out, struct http_str raw);

struct http_loop {
    struct http_server    *server;
    struct event_base     *base;
    struct evconnlistener *listener;
    struct event          *wake_event, *drain_timer, *accept_timer;
    int                    wake_fd;
    _Atomic(struct http_waker *) fired; /* stack of wakers, pushed by any thread, taken whole by the loop */
    struct http_conn      *conns;
    atomic_uint            n_conn;
    bool                   drain_begun;
    struct http_field      field[HTTP_MAX_FIELDS]; /* for parsing */
    struct buf             scratch;                /* what a pull appends to */
    time_t                 date_at;
    char                   date[40];
};

struct http_server {
    struct http_options o; /* strings owned, defaults filled in */
    struct http_route  *route;
    size_t              n_route;
    struct http_loop    loop; /* one for now; each has its own listener, wake-up and connections */
    int                 listen_fd;
    bool                listening;
    bool                bound; /* a Unix socket's file is ours to remove */
    uint16_t            port;
    atomic_bool         draining, quit;
    atomic_uint         drain_ms;
    _Atomic uint64_t    next_id;
    uint64_t            id_key;
};

enum exchange_state {
    X_BODY,    /* the request's body is coming in */
    X_HANDLED, /* the handler was called and the answer has not begun */
    X_STREAM,  /* the body of the response comes from pull */
    X_DONE     /* everything was given to the connection */
};

struct http_exchange {
    struct http_conn   *conn;
    enum exchange_state state;
    char               *head_bytes; /* a copy, cut into NUL-terminated pieces; head's views point here */
    struct h1_head      head;
    struct route_param  param[HTTP_MAX_PARAMS];
    size_t              n_param;
    const struct http_route *route;
    int                 refusal; /* answer this when the body has been read, instead of calling the handler */
    const char         *refusal_why;
    char                id[65];

    struct h1_chunks chunks;
    size_t           max_body, body_got;
    struct buf       body;

    struct buf  fields; /* of the response */
    int         status;
    bool        chunked, head_only, pull_ready, complete;
    uint64_t    bytes_out;
    int64_t     start_us, first_byte_us;

    const struct http_responder *ops;
    void                        *user;
    struct http_waker           *waker;
    struct event                *timer;
};

enum conn_phase { PH_NEW, PH_IDLE, PH_HEAD, PH_BODY, PH_BUSY, PH_LINGER };

struct http_conn {
    struct http_loop     *loop;
    struct http_conn     *prev, *next;
    struct bufferevent   *bev;
    struct event         *timer; /* the earlier of the two deadlines */
    struct http_exchange *x;     /* HTTP/1.1: one at a time */
    enum conn_phase       phase;
    int64_t  read_deadline_us, write_deadline_us, timer_at_us; /* 0: none */
    uint64_t queued, write_mark; /* bytes given to the output; how many must be out at the write deadline */
    bool     closing; /* close when the output is empty */
    bool     linger;  /* ... after reading what the client still sends, so that it sees the answer */
    bool     dead, running, eof, paused;
    char     peer[64];
};

/* conn.c */
void conn_accept(struct http_loop *l, int fd, const char *peer);
void conn_run(struct http_conn *c); /* at the end of every entry point: do what can be done, maybe free c */
void conn_write(struct http_conn *c, const void *p, size_t n);
void conn_stop(struct http_conn *c); /* draining: close when idle, else after the answer */
void conn_kill(struct http_conn *c); /* now */

/* exchange.c */
struct http_exchange *exchange_new(struct http_conn *c, const struct h1_head *h, const char *bytes, size_t n);
void exchange_end(struct http_exchange *x, bool complete); /* tells the responder, logs, frees */
void exchange_handle(struct http_exchange *x);             /* the request is complete */
void exchange_pull(struct http_exchange *x);
void exchange_wake(struct http_exchange *x);
void wakers_run(struct http_loop *l);
/* An answer to what could not be understood; the connection closes after it. */
void exchange_refuse(struct http_conn *c, int code, const char *why);

/* server.c */
const char *loop_date(struct http_loop *l);
int64_t     loop_now_us(void);
void        loop_conn_closed(struct http_loop *l);
void        loop_signal(struct http_loop *l); /* any thread, and signal handlers */

#endif
