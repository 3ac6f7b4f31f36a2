/* An HTTP client: calls to other servers, on the event loop of a server's thread or on one of its own.
 *
 * A client and its calls belong to one thread. It keeps connections for later calls to the same place. A call
 * is one request and its answer: the head, then the body in pieces, then the end. Nothing is called back from
 * within the functions below, only from the loop, and after http_call_cancel nothing any more.
 *
 * Answers are taken by HTTP/1.1 unless http2 is asked for, which is for small ones: they cannot be paused
 * there. */
#ifndef CORRAL_HTTP_CLIENT_H
#define CORRAL_HTTP_CLIENT_H

#include "http/http.h"

struct sockaddr;
struct http_client;
struct http_call;

/* A client with a loop of its own, for programs without a server and threads beside one. */
status http_client_new(struct http_client **out, struct error *e);
void   http_client_free(struct http_client *c); /* calls that still run are cancelled; NULL is fine */
/* Until every call has ended. Calls may start others. */
status http_client_run(struct http_client *c, struct error *e);
/* Wait for the next event and handle it, for loops with an end of their own;
 * false: there is nothing to wait for. */
bool   http_client_step(struct http_client *c);
/* The same for at most so long, with or without calls, for loops that also look at other things. */
void   http_client_wait(struct http_client *c, uint32_t ms);
/* The client of an exchange's loop, for calls whose answers become part of this one's. The server's own. */
struct http_client *http_exchange_client(struct http_exchange *x);

/* ---- a call ------------------------------------------------------------------------------------------ */

struct http_header { const char *name, *value; };

struct http_call_options { /* everything is copied, but for user's objects */
    const char *method; /* NULL: GET, or POST with a body */
    const char *url;    /* http:// or https:// */
    const char *unix_path; /* connect here; the URL's host is only named */
    const struct http_header *header;
    size_t      n_header;
    const void *body; /* NULL: none, or from pull */
    size_t      n_body;
    bool        pull_body;   /* the body comes from pull; */
    int64_t     body_length; /* so many bytes of it; negative: not known before its end */

    uint64_t    from;     /* ask for what begins at this byte; see http_call_extent */
    uint64_t    until;    /* ... and ends before this one; 0: its end */
    const char *if_match; /* ... of this ETag: all of it comes when it is another by now (If-Range) */
    bool        unpack;   /* accept packed answers and unpack them: fewer bytes, but no `from` */
    uint64_t    max_bytes; /* of the answer's body, unpacked; 0: no ceiling */
    /* 0: a redirection is an answer.
     * At another host Authorization and Cookie stay behind, other fields do not. */
    uint32_t    max_redirects;
    bool        http2; /* over TLS where the server has it; without TLS it must */

    uint32_t connect_timeout_ms;    /* address, connection, TLS; 0: 10 s */
    uint32_t first_byte_timeout_ms; /* the request was sent: until the answer's head; 0: 60 s */
    uint32_t stall_timeout_ms;      /* nothing came or could be sent, and neither was paused; 0: 60 s */
    uint32_t total_timeout_ms;      /* 0: no limit */

    const char *ca_file;   /* PEM, the authorities to trust; NULL: the system's */
    const char *cert, *key; /* PEM, shown to servers that ask; the key may stand with the certificate */
    const char *proxy;     /* NULL: as the environment says (https_proxy, no_proxy, ...), "": none */
    size_t      buffer_bytes; /* largest piece of an answer; 0: 16 KiB; downloads gain from more */

    /* Is this address one to connect to? Asked about what the name turned out to be, at every redirection
     * too, so that a name cannot mean one thing when it is checked and another when it is used. Proxies are
     * not used then. */
    bool (*may_connect)(void *user, const struct sockaddr *a);
    void  *may_connect_user;
};

enum http_cause { /* why a call has no whole answer */
    HTTP_CAUSE_NONE,
    HTTP_CAUSE_ARGUMENT, /* the URL, a header or a file of TLS cannot be used */
    HTTP_CAUSE_RESOLVE, HTTP_CAUSE_CONNECT, HTTP_CAUSE_TLS,
    HTTP_CAUSE_FORBIDDEN, /* may_connect said no */
    HTTP_CAUSE_TIMEOUT,
    HTTP_CAUSE_CUT,       /* the connection ended too soon */
    HTTP_CAUSE_PROTOCOL,  /* that was no HTTP */
    HTTP_CAUSE_LIMIT,     /* max_bytes, or a head of more than 64 KiB */
    HTTP_CAUSE_REDIRECTS, /* more than max_redirects */
    HTTP_CAUSE_BODY,      /* pull failed */
    HTTP_CAUSE_CANCELLED  /* by http_client_free */
};
struct http_result {
    enum http_cause cause;
    const char     *why;   /* for people; "" without a cause */
    int             code;  /* of the answer; 0: none came */
    bool            sent;  /* it may have been acted upon: repeat only what may happen twice */
    bool            reused; /* the connection was there already */
    uint64_t        bytes_in, bytes_out; /* bodies */
    int64_t         connect_us, first_byte_us, total_us; /* since the start; 0: did not happen */
};

struct http_call_ops { /* on the client's thread; every member but end may be NULL */
    void (*head)(struct http_call *c, void *user, int code); /* once; redirections that
                                                              * are followed have none */
    void (*body)(struct http_call *c, void *user, const char *p, size_t n);
    /* The next bytes of the request's body; HTTP_WAIT: ask again after http_call_wake. */
    enum http_pull (*pull)(struct http_call *c, void *user, struct buf *out);
    /* once; c is gone afterwards */
    void (*end)(struct http_call *c, void *user, const struct http_result *r);
};

struct http_call *http_call_start(struct http_client *client, const struct http_call_options *o,
                                  const struct http_call_ops *ops, void *user);
void http_call_cancel(struct http_call *c); /* no more calls back, end neither; c is gone */
/* Ask the server to wait, and to go on; nothing comes meanwhile. Without effect for http2: libcurl 7.88
 * would take all of the answer into memory all the same, and at times not notice its end. */
void http_call_pause(struct http_call *c, bool pause);
void http_call_wake(struct http_call *c); /* pull has something again */

/* From head on. */
const char *http_call_header(const struct http_call *c, const char *name); /* NULL when absent */
/* false: no i-th one */
bool        http_call_field(const struct http_call *c, size_t i, struct http_header *out);
const char *http_call_url(const struct http_call *c); /* where the answer comes from, after redirections */
/* Where the body that comes begins in the whole, and how large the whole is (-1: not said). False: it is not
 * what was asked for with `from`, so it must not be put there. */
bool        http_call_extent(const struct http_call *c, uint64_t *from, int64_t *whole);

/* ---- simple uses ------------------------------------------------------------------------------------- */

/* An answer as a whole. */
struct http_answer { int code; struct buf head, body; };
/* Runs the client until this call has ended.
 * An answer of any code is OK. Without max_bytes at most 16 MiB. */
status      http_fetch(struct http_client *c, const struct http_call_options *o, struct http_answer *out,
                       struct error *e);
const char *http_answer_header(const struct http_answer *a, const char *name);
void        http_answer_deinit(struct http_answer *a);

/* The status and message of a result that is not whole. */
status http_result_error(const struct http_result *r, const char *url, struct error *e);
/* For may_connect: an address of the internet at large, not of this machine, its networks, or special use. */
bool   http_address_is_public(void *unused, const struct sockaddr *a);

#endif
