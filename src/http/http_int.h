/* The owner's view of src/http: loops, connections, exchanges. One loop is one thread; a connection and its
 * exchanges stay on the loop that accepted them. A connection speaks one protocol at a time: struct proto. */
#ifndef CORRAL_HTTP_INT_H
#define CORRAL_HTTP_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include <event2/event.h>

#include "http/h1.h"
#include "http/http.h"

struct bufferevent;
struct http_client;
struct evconnlistener;
struct sockaddr;

enum {
    HTTP_MAX_FIELDS = 64,
    HTTP_MAX_PARAMS = 4,
    HTTP_MAX_LOOPS = 64,
    OUT_HIGH_BYTES = 32 * 1024, /* stop producing when this much waits to be sent */
    OUT_LOW_BYTES = 8 * 1024,   /* and go on below this */
    SMALL_BODY_BYTES = 64 * 1024, /* bodies that nobody wants are read up to this, to keep the connection */
    LINGER_MS = 2000
};

/* A path pattern matched against a path. */
struct route_param {
    const char *name;
    size_t      n_name;
    const char *value; /* NUL-terminated, owned by the exchange */
};
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
    struct event          *wake_event, *drain_timer, *accept_timer, *tls_timer;
    int                    listen_fd, wake_fd;
    _Atomic(struct http_waker *) fired; /* stack of wakers, pushed by any thread, taken whole by the loop */
    struct http_conn      *conns;
    bool                   drain_begun;
    struct http_field      field[HTTP_MAX_FIELDS]; /* for parsing */
    struct buf             scratch;                /* what a pull appends to */
    struct http_client    *client;                 /* NULL until somebody calls out */
    time_t                 date_at;
    char                   date[40];
    pthread_t              thread;
    status                 result;
};

struct http_server {
    struct http_options o; /* strings owned, defaults filled in */
    struct http_route  *route;
    size_t              n_route;
    struct http_loop   *loop;
    uint32_t            n_loop, n_socket; /* the first n_socket loops have listening sockets of their own */
    struct tls         *tls;   /* NULL: plain text */
    struct peers       *peers; /* NULL: no limit for one address */
    struct proxies     *proxies; /* that are trusted; NULL: none */
    bool                listening;
    struct handover    *handover; /* another process is starting to take the place of this one */
    bool                handed_over; /* and has done so */
    bool                bound; /* a Unix socket's file is ours to remove */
    uint16_t            port;
    atomic_uint         n_conn;
    atomic_bool         draining, quit, reload, hand_over;
    atomic_uint         drain_ms, handover_ms;
    _Atomic uint64_t    next_id;
    uint64_t            id_key;
};

/* listen.c: sockets that are bound and do not listen yet. */
status listen_tcp(int *out, size_t n, uint16_t *port_out, const char *host, uint16_t port, struct error *e);
status listen_unix(int *out, const char *path, struct error *e);
status listen_passed(int *out, int fd, uint16_t *port_out, struct error *e);

/* handover.c: on the first loop's thread, or when no loop runs. */
void handover_begin(struct http_server *s);
void handover_abandon(struct http_server *s);
void handover_say_ready(struct http_server *s);

/* address.c: of IPv6, or with a prefix of four bytes IPv4. */
struct address_net { unsigned char prefix[16]; uint32_t bits; };
bool   address_inside(const unsigned char *a, const struct address_net *n);

/* forwarded.c. Addresses are IPv6; an IPv4 one is mapped. */
struct proxies;
/* free() it. rfc7239: they name their clients in Forwarded, not in X-Forwarded-For. */
status proxies_new(struct proxies **out, const char *const *text, size_t n, bool rfc7239, struct error *e);
bool   proxies_have(const struct proxies *p, const unsigned char *address); /* address NULL: a Unix socket */
bool   address_read(unsigned char out[16], const struct sockaddr *a);       /* false: it has none */
/* false: nobody */
bool   proxies_client(const struct proxies *p, const struct h1_head *h, unsigned char out[16]);
/* Writes x->client. True: a proxy has said so, and this is the address. */
bool   client_find(struct http_exchange *x, unsigned char address[16]);

/* peers.c: connections per address, and requests per address that a proxy names. Any thread. */
struct peer { unsigned char address[16]; bool counted; };
struct peers *peers_new(uint32_t limit);
void          peers_free(struct peers *p);
/* false: too many */
bool          peers_enter(struct peers *p, struct peer *who, const unsigned char *address);
void          peers_leave(struct peers *p, const struct peer *who);

enum exchange_state {
    X_BODY,    /* the request's body is coming in */
    X_HANDLED, /* the handler was called and the answer has not begun */
    X_STREAM,  /* the body of the response comes from pull */
    X_DONE     /* everything was given to the connection */
};

/* An exchange whose two sides go on talking: WebSocket. */
struct tunnel {
    bool (*room)(struct http_exchange *x); /* may more be fed to it? */
    void (*input)(struct http_exchange *x, const char *p, size_t n);
    void (*stop)(struct http_exchange *x); /* draining */
};

struct http_exchange {
    struct http_conn   *conn;
    void               *stream; /* of HTTP/2 */
    enum exchange_state state;
    char               *head_bytes; /* a copy, cut into NUL-terminated pieces; head's views point here */
    struct h1_head      head;
    struct route_param  param[HTTP_MAX_PARAMS];
    size_t              n_param;
    const struct http_route *route;
    int                 refusal; /* answer this when the body has been read, instead of calling the handler */
    const char         *refusal_why;
    char                id[65];
    char                client[46]; /* see http_client */
    bool                forwarded;  /* a proxy named it */
    struct peer         who;        /* of those */

    struct h1_chunks chunks;
    uint64_t         max_body, body_got;
    bool             body_open, body_paused; /* streamed: more is to come; the handler asked to wait */
    struct buf       body;

    struct buf  fields; /* of the response */
    int         status;
    bool        chunked, head_only, pull_ready, complete;
    uint64_t    bytes_out;
    int64_t     length; /* of a streamed body; negative: not known */
    int64_t     start_us, first_byte_us;

    const struct http_responder *ops;
    const struct tunnel         *tunnel; /* NULL: request, response, end */
    bool                         extended_connect; /* RFC 8441 */
    void                        *user;
    struct http_waker           *waker;
    struct event                *timer;
};

struct origin {
    struct peer   who;
    unsigned char address[16];
    bool          has_address, proxied; /* proxied: it is a trusted proxy's */
    char          name[64];             /* "192.0.2.1:4567" */
};

enum conn_phase { PH_SHAKE, PH_NEW, PH_IDLE, PH_HEAD, PH_BODY, PH_BUSY, PH_LINGER };

/* What a connection speaks. */
struct proto {
    const char *name;
    bool (*advance)(struct http_conn *c); /* do one thing that can be done now; false: there is none */
    void (*deadline)(struct http_conn *c); /* the read deadline has passed */
    void (*eof)(struct http_conn *c);      /* the client shut its sending side */
    void (*stop)(struct http_conn *c);     /* draining: end when what is pending is answered */
    void (*free)(struct http_conn *c);     /* end what is pending */
    /* length < 0: not known */
    void (*head)(struct http_exchange *x, int code, const char *type, int64_t length);
    void (*body)(struct http_exchange *x, struct buf *b); /* may be consumed */
    void (*end)(struct http_exchange *x);  /* of the response's body */
    void (*pause)(struct http_exchange *x); /* body_paused has changed */
};
extern const struct proto proto_tls, proto_h1;

struct http_conn {
    struct http_loop     *loop;
    struct http_conn     *prev, *next;
    struct bufferevent   *bev;
    void                 *tls;   /* session, or NULL */
    struct event         *timer; /* the earlier of the two deadlines */
    const struct proto   *proto;
    void                 *state; /* of the protocol, HTTP/2 */
    struct http_exchange *x;     /* HTTP/1.1: one at a time */
    bool                  fresh; /* no request was seen: it may turn out to be HTTP/2 */
    enum conn_phase       phase;
    int64_t  read_deadline_us, write_deadline_us, timer_at_us; /* 0: none */
    uint64_t queued, write_mark; /* bytes given to the output; how many must be out at the write deadline */
    bool     closing; /* close when the output is empty */
    bool     linger;  /* ... after reading what the client still sends, so that it sees the answer */
    bool     dead, running, eof, paused;
    bool     write_waits; /* for room in the socket */
    struct origin from;
};

/* conn.c */
void conn_accept(struct http_loop *l, int fd, const struct origin *from);
void conn_run(struct http_conn *c); /* at the end of every entry point: do what can be done, maybe free c */
void conn_write(struct http_conn *c, const void *p, size_t n);
void conn_stop(struct http_conn *c); /* draining: close when idle, else after the answer */
void conn_kill(struct http_conn *c); /* now */
/* For protocols. */
void   conn_phase(struct http_conn *c, enum conn_phase phase);
void   conn_deadline(struct http_conn *c, int64_t at_us); /* the next time proto->deadline
                                                           * is called; 0: none */
size_t conn_in_len(const struct http_conn *c);
size_t conn_out_len(const struct http_conn *c);
bool   conn_close_gently(struct http_conn *c); /* returns false */

/* h2.c: this connection speaks HTTP/2 from here on. */
void h2_begin(struct http_conn *c);

/* exchange.c */
struct http_exchange *exchange_new(struct http_conn *c, const struct h1_head *h, const char *bytes, size_t n);
void exchange_end(struct http_exchange *x, bool complete); /* tells the responder, logs, frees */
void exchange_pull(struct http_exchange *x);
/* not packed */
void exchange_reply_as_is(struct http_exchange *x, int code, const char *type, const void *body, size_t n);
void exchange_head_done(struct http_exchange *x); /* before its body: a streamed one's handler is called */
bool exchange_take_body(struct http_exchange *x, const char *p, size_t n); /* false: larger than allowed */
void exchange_body_done(struct http_exchange *x);
bool exchange_wants_body(const struct http_exchange *x); /* is the request's body still being read? */
void wakers_run(struct http_loop *l);
const char *http_reason(int code);
/* The body of an error of this module's own; returns its type. */
const char *exchange_error_body(struct http_server *s, const char *path, int code, const char *why,
                                struct buf *out);
/* An answer to what was not understood was sent: to the log. */
void exchange_log_refusal(struct http_conn *c, int code, size_t bytes_out);

/* encoding.c: the request's body unpacked in place: 0, or the status to answer and why. */
int encoding_unpack(struct http_exchange *x, const char **why);
/* The answer's body packed into out, as the client accepts it:
 * the coding's name, or NULL: send it as it is. */
const char *encoding_pack(struct http_exchange *x, const char *type, const void *p, size_t n,
                          struct buf *out);
bool encoding_accepts(const struct http_exchange *x, const char *coding);
bool encoding_worth(const struct http_exchange *x, const char *type, uint64_t n); /* would that pack it? */
/* Once and small, for many requests; empty where nothing is gained. */
void encoding_pack_both(const char *type, const void *p, size_t n, struct buf *in_gzip, struct buf *in_zstd);

/* cors.c: headers of the coming response; methods are those of the path */
void cors_headers(struct http_exchange *x, const char *methods);
bool cors_allows(const struct http_exchange *x, const char *origin);

/* loop.c */
status      loop_init(struct http_loop *l, struct http_server *s, struct error *e);
status      loop_run(struct http_loop *l, struct error *e);
void        loop_deinit(struct http_loop *l);
const char *loop_date(struct http_loop *l);
void        http_date(char out[40], time_t t); /* "Sun, 06 Nov 1994 08:49:37 GMT" */
int64_t     loop_now_us(void);
void        loop_conn_closed(struct http_loop *l, const struct peer *who);
void        loop_signal(struct http_loop *l); /* any thread, and signal handlers */

#endif
