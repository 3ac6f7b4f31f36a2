/* An HTTP server: connections, requests, responses by pull. It knows nothing of what is served.
 *
 * A server has a table of routes and event loops, one thread each. A connection stays on the loop that
 * accepted it; handlers run on all of them, and what they do with an exchange belongs to that exchange's
 * loop. From any thread: http_waker_fire, http_server_drain, http_server_quit and http_server_reload. A
 * request and its response are one exchange. The handler of a route either answers at once (http_reply) or
 * attaches a responder, which is woken from other threads through a waker and asked for bytes when the
 * connection can send. An exchange ends exactly once: answered in full, or the client went, or a deadline
 * passed. */
#ifndef CORRAL_HTTP_H
#define CORRAL_HTTP_H

#include "base/base.h"
#include "base/buf.h"

struct http_server;
struct http_exchange;
struct http_waker;

struct http_str { const char *p; size_t n; }; /* a view of bytes owned by somebody else */

/* ---- routes ---------------------------------------------------------------------------------------- */

typedef void (*http_handler)(struct http_exchange *x, void *user);

enum http_body {
    HTTP_BODY_NONE, /* a small body is read and dropped */
    HTTP_BODY_WHOLE, /* the handler is called when all of it is there */
    HTTP_BODY_STREAM /* it is called when the head is there, and attaches a responder that takes the pieces */
};

enum http_role { /* who may use a route; zero, so that a row which says nothing is not open to all */
    HTTP_ROLE_USER,
    HTTP_ROLE_ANYONE, /* http_options.authorize is not asked */
    HTTP_ROLE_ADMIN
};

struct http_route {
    const char    *method; /* GET also serves HEAD */
    const char    *path;   /* "/v1/models/{id}": {id} is one segment, {id*} the rest of the path */
    http_handler   handle;
    void          *user;
    enum http_body body;
    enum http_role role;
};

/* ---- server ---------------------------------------------------------------------------------------- */

struct http_access { /* one line of the access log; strings are valid during the call */
    const char *peer, *protocol, *id, *method, *path; /* "-" where the request was not understood */
    const char *via;                       /* the trusted proxy that named peer;
                                            * "": nobody stands in between */
    const char *trace;                     /* the client's trace, 32 hexadecimal digits; "": none */
    int         status;                    /* 499: the client went before an answer began */
    bool        complete;                  /* the whole response was handed to the connection */
    uint64_t    bytes_in, bytes_out;       /* bodies */
    int64_t     first_byte_us, total_us;   /* since the request's head was read */
};

/* Sockets that another process opened: systemd, or the one whose place this one takes. */
struct http_passed {
    int      fd; /* the first of n that follow each other; the server's from then on */
    uint32_t n;  /* 0: none */
    int      ready_fd; /* how to say that this one serves; 0: nobody waits for that */
};

struct http_options {
    const char *host; /* NULL: 127.0.0.1 */
    uint16_t    port; /* 0: any free one */
    const char *unix_path; /* instead of host and port */
    struct http_passed passed; /* instead of either: sockets that listen already; see http_passed_sockets */
    uint32_t    n_thread;  /* event loops, each on its own thread; 0: 1 */

    const char *tls_cert, *tls_key; /* PEM files: TLS instead of plain text;
                                     * the key may stand with the certificate */
    const char *tls_client_ca;      /* clients must show a certificate of these authorities */

    size_t   max_head_bytes, max_target_bytes, max_body_bytes; /* 0: 32 KiB, 8 KiB, 16 MiB */
    uint64_t max_upload_bytes; /* of a streamed body; 0: 4 GiB.
                                * Every 64 KiB of it must come within body_timeout_ms */
    size_t   max_pipelined_bytes; /* input kept while a response is pending; 0: 64 KiB */
    uint32_t max_connections, max_per_address;                 /* 0: 1024, no limit */
    /* Addresses, networks ("10.0.0.0/8") and "unix": what their X-Forwarded-For says is believed, and
     * max_per_address then counts the requests of whom it names. Nobody is believed by default. */
    const char *const *trusted_proxy;
    size_t n_trusted_proxy;
    bool   proxy_forwarded; /* they write Forwarded (RFC 7239) instead */
    uint32_t max_streams;                                      /* of one HTTP/2 connection at once; 0: 128 */
    uint32_t handshake_timeout_ms, head_timeout_ms, body_timeout_ms, write_timeout_ms, idle_timeout_ms;
    /* 0: 10, 10, 60, 30, 75 s */
    const char *const *cors_origin; /* pages of these origins may use the server; "*": of any. Borrowed */
    size_t   n_cors_origin;
    size_t   max_message_bytes; /* of WebSocket; 0: 1 MiB */
    uint32_t ws_ping_ms;        /* silence after which a client is asked whether it lives; 0: 30 s */
    uint32_t hsts_s; /* under TLS, tell browsers to use nothing else for so long; 0: do not */
    bool     half_close_answers; /* a client that shut its sending side still
                                  * gets its answer (default: it has gone) */

    /* May this request use a route of that role? 0, or the status to answer (401, 403) with *why. Asked when
     * the head is there, before the body is read. NULL: everybody may. */
    int (*authorize)(void *user, const struct http_exchange *x, enum http_role role, const char **why);
    /* Body of an error that this module makes itself (404, 413, ...); NULL: plain text. Returns its type.
     * path: as far as it is known, maybe with the query; "" where the request was not understood. */
    const char *(*render_error)(const char *path, int code, const char *why, struct buf *out);
    void (*on_access)(void *user, const struct http_access *a);
    void *user;
};

/* Binds the address, so that a port in use is known before anything slow is done; nobody can connect before
 * listen. */
status   http_server_new(struct http_server **out, const struct http_options *o, struct error *e);
/* From now on clients can connect; they wait for run. Say that the server is ready after this, not before. */
status   http_server_listen(struct http_server *s, struct error *e);
/* Before run. The rows are copied, their strings are not. */
void     http_server_add_routes(struct http_server *s, const struct http_route *routes, size_t n);
void     http_server_free(struct http_server *s); /* after whatever may still fire a waker has ended */
uint16_t http_server_port(const struct http_server *s);
/* Listen if that was not done, accept and serve on the calling thread until drained or told to quit.
 * Afterwards every exchange has ended. */
status   http_server_run(struct http_server *s, struct error *e);
/* Stop accepting, let exchanges finish for at most deadline_ms, then return from run. From any thread or a
 * signal handler. */
void     http_server_drain(struct http_server *s, uint32_t deadline_ms);
void     http_server_quit(struct http_server *s); /* the same without waiting */
/* Read the certificate again, for connections to come. This also happens by itself within seconds of a
 * change. From any thread or a signal handler. */
void     http_server_reload(struct http_server *s);
bool     http_server_draining(const struct http_server *s);
uint32_t http_server_connections(const struct http_server *s);

/* Start this program again with the same arguments, give it the listening sockets, and drain as soon as it
 * listens; no connection is refused meanwhile. If it ends before that, this one just goes on. From any
 * thread or a signal handler. */
void     http_server_hand_over(struct http_server *s, uint32_t drain_ms);

/* ---- the service manager: systemd's protocols, without effect elsewhere -------------------------------- */

/* For http_options.passed: from the service manager, or from http_server_hand_over of another process. */
status http_passed_sockets(struct http_passed *out, struct error *e);
void   http_notify(const char *state); /* "READY=1", ... */

/* ---- request; strings are NUL-terminated too and live as long as the exchange ------------------------ */

const char     *http_method(const struct http_exchange *x);
const char     *http_path(const struct http_exchange *x);
const char     *http_query(const struct http_exchange *x); /* without '?'; "" when there is none */
const char     *http_header(const struct http_exchange *x, const char *name); /* NULL when absent */
/* What {name} matched, percent-decoded; NULL when the route has no such part. */
const char     *http_param(const struct http_exchange *x, const char *name);
/* The client's address without a port; NULL: not known for sure, because no trusted proxies were named that
 * others could be told from, or because the client came through a Unix socket. */
const char     *http_client(const struct http_exchange *x);
struct http_str http_request_body(const struct http_exchange *x);
const char     *http_request_id(const struct http_exchange *x); /* the client's X-Request-Id,
                                                                 * or one made here */
const char     *http_last_event_id(const struct http_exchange *x); /* the event a client
                                                                    * goes on after, or NULL */
/* What the request belongs to (W3C Trace Context);
 * false: no traceparent, or a malformed one, which does not count. */
struct http_trace { char id[33], parent[17]; bool sampled; };
bool            http_trace(const struct http_exchange *x, struct http_trace *out);
struct http_server *http_exchange_server(const struct http_exchange *x);

/* ---- response --------------------------------------------------------------------------------------- */

/* A header field of the coming response. The value is checked: control characters drop the field. */
void http_set_header(struct http_exchange *x, const char *name, const char *value);
/* The whole response. Not after http_stream. */
void http_reply(struct http_exchange *x, int code, const char *type, const void *body, size_t n);
/* A whole response that costs more to write than to send, such as a report of figures: whoever asks all the
 * time gets the same one for so many milliseconds, and a new one at once when the server begins to drain.
 * The writer appends the body and returns the status code. Any loop; writers run one at a time. */
typedef int http_writer(struct buf *body, struct http_exchange *x, void *user);
struct http_fresh;
struct http_fresh *http_fresh_new(uint32_t ms);
void http_fresh_free(struct http_fresh *f); /* NULL is fine */
void http_reply_fresh(struct http_exchange *x, struct http_fresh *f, const char *type, http_writer *write,
                      void *user);
/* An error as this module's own are rendered. */
void http_reply_error(struct http_exchange *x, int code, const char *why);

enum http_pull {
    HTTP_MORE, /* ask again as soon as there is room */
    HTTP_WAIT, /* nothing now: ask after the next wake or timer */
    HTTP_DONE, /* what was appended is the end */
    HTTP_FAIL  /* cut the connection, so that the client sees an incomplete body */
};
struct http_responder { /* all on the loop's thread; every member but end may be NULL */
    void (*wake)(struct http_exchange *x, void *user);  /* after http_waker_fire */
    void (*timer)(struct http_exchange *x, void *user); /* after http_set_timer */
    /* HTTP_BODY_STREAM: the next bytes, unpacked of chunks and frames;
     * last: there are no more (n may be 0). */
    void (*body)(struct http_exchange *x, void *user, const char *p, size_t n, bool last);
    /* once http_stream was called */
    enum http_pull (*pull)(struct http_exchange *x, void *user, struct buf *out);
    void (*end)(struct http_exchange *x, void *user, bool complete); /* exactly once; x is gone afterwards */
};
/* The answer comes later. ops stays valid; user is passed to it. */
void http_attach(struct http_exchange *x, const struct http_responder *ops, void *user);
/* HTTP_BODY_STREAM: ask the client to wait, and to go on.
 * What is under way may still come (HTTP/2: 256 KiB). */
void http_pause_body(struct http_exchange *x, bool pause);
/* Send the head of a response whose body comes from pull. */
void http_stream(struct http_exchange *x, int code, const char *type);
/* The same for a body of so many bytes; another number of them is cut like HTTP_FAIL. */
void http_stream_sized(struct http_exchange *x, int code, const char *type, uint64_t length);
void http_set_timer(struct http_exchange *x, uint32_t ms); /* one shot; 0 clears */

/* A handle through which any thread can say "look at this exchange again". It may outlive the exchange, not
 * the server; firing many times before the loop looks counts once, so nothing can pile up. It is counted: who
 * fires holds it, directly or through something whose last holder frees it, until fire has returned. */
struct http_waker *http_waker_new(struct http_exchange *x);
void http_waker_fire(struct http_waker *w);
void http_waker_free(struct http_waker *w); /* any thread */

/* ---- WebSocket --------------------------------------------------------------------------------------- */

struct http_ws;
struct http_ws_ops { /* on the loop's thread; every member but end may be NULL */
    /* A whole message; text is valid UTF-8. It may call the functions below. */
    void (*message)(struct http_ws *w, void *user, bool text, const char *p, size_t n);
    void (*wake)(struct http_ws *w, void *user); /* after http_waker_fire */
    void (*room)(struct http_ws *w, void *user); /* all that was sent has left: time for more */
    /* The server drains: send what is under way and call http_ws_close then.
     * NULL: it is closed at once, 1001. */
    void (*drain)(struct http_ws *w, void *user);
    /* Exactly once; w is gone afterwards. The client's close code, 1005: it gave none, 1006: it just went. */
    void (*end)(struct http_ws *w, void *user, int code);
};
/* In the handler of a GET route, whose caller may have asked over HTTP/1.1 or HTTP/2. NULL: it did not ask
 * for this, and was answered so. protocol: the subprotocol that was chosen, or NULL. */
struct http_ws *http_ws_accept(struct http_exchange *x, const char *protocol, const struct http_ws_ops *ops,
                               void *user);
/* Queue a message, copied. False: it cannot be sent any more, or text is no UTF-8. */
bool   http_ws_send(struct http_ws *w, bool text, const void *p, size_t n);
size_t http_ws_pending(const struct http_ws *w); /* bytes queued: whoever sends on and on waits for room */
void   http_ws_close(struct http_ws *w, int code, const char *reason); /* overtakes what is pending */
struct http_exchange *http_ws_exchange(struct http_ws *w); /* for a waker, headers, ... */

/* ---- server-sent events, lines of JSON ----------------------------------------------------------------- */

/* One event; event may be NULL. A data with line breaks becomes several data lines. */
void http_sse_event(struct buf *out, const char *event, const char *data, size_t n);
void http_sse_comment(struct buf *out, const char *text);
void http_sse_id(struct buf *out, const char *id); /* of the event that follows; see http_last_event_id */
/* A line of application/x-ndjson. Line breaks between the parts of json become spaces. */
void http_ndjson(struct buf *out, const char *json, size_t n);

#endif
