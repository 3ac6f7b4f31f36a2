/* libcurl's multi interface on an event loop (curl_multi_socket_action(3)): it says which sockets and which
 * time it waits for, the loop says what happened.
 *
 * libcurl may not be entered from its own callbacks, so whatever users ask for (start, cancel, pause) is
 * noted and done from the loop. */
#include "http/client.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "http/client_int.h"
#include "http/http_int.h"

enum { KEPT_CONNECTIONS = 64, FETCH_MAX_BYTES = 16 << 20 };

/* ---- what libcurl waits for -------------------------------------------------------------------------- */

/* Calls that libcurl is through with. */
static void reap(struct http_client *k)
{
    CURLMsg *m;
    int left;
    while ((m = curl_multi_info_read(k->multi, &left))) {
        struct http_call *c = NULL;
        CURLcode r = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&c);
        call_done(c, r);
    }
}

static void act(struct http_client *k, curl_socket_t fd, int what)
{
    int running;
    curl_multi_socket_action(k->multi, fd, what, &running);
    reap(k);
}

static void on_socket(int fd, short what, void *arg)
{
    act(arg, fd, ((what & EV_READ) ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) ? CURL_CSELECT_OUT : 0));
}

static void on_timer(int fd, short what, void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_alarm(int fd, short what, void *arg) {}

static int want_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket_user)
{
    struct http_client *k = user;
    struct event *ev = socket_user;
    if (ev) event_free(ev);
    short kind = (short)(((what & CURL_POLL_IN) ? EV_READ : 0) | ((what & CURL_POLL_OUT) ? EV_WRITE : 0));
    ev = what == CURL_POLL_REMOVE || !kind ? NULL : event_new(k->base, fd, kind | EV_PERSIST, on_socket, k);
    if (ev) event_add(ev, NULL);
    curl_multi_assign(k->multi, fd, ev);
    return 0;
}

static int want_timer(CURLM *multi, long ms, void *user)
{
    struct http_client *k = user;
    if (ms < 0)
        event_del(k->timer);
    else
        event_add(k->timer, &(struct timeval){ms / 1000, (suseconds_t)(ms % 1000) * 1000});
    return 0;
}

/* ---- what users asked for ---------------------------------------------------------------------------- */

void client_todo(struct http_call *c)
{
    struct http_client *k = c->client;
    if (c->todo) return;
    c->todo = true;
    c->todo_next = k->todo;
    k->todo = c;
    event_active(k->kick, EV_TIMEOUT, 0);
}

static void on_kick(int fd, short what, void *arg)
{
    struct http_client *k = arg;
    struct http_call *c = k->todo, *next;
    k->todo = NULL;
    for (; c; c = next) { /* each is still there: only call_do and the loop free calls, and not others */
        next = c->todo_next;
        c->todo = false;
        call_do(c);
    }
    reap(k);
}

/* ---- life cycle -------------------------------------------------------------------------------------- */

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

status client_new(struct http_client **out, struct event_base *base, struct error *e)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct http_client *k = mem_zalloc(1, sizeof *k);
    k->base = base;
    k->multi = curl_multi_init();
    k->timer = event_new(base, -1, 0, on_timer, k);
    k->kick = event_new(base, -1, 0, on_kick, k);
    k->alarm = event_new(base, -1, 0, on_alarm, k);
    if (!k->multi || !k->timer || !k->kick || !k->alarm) {
        http_client_free(k);
        return fail(e, ERR_MEMORY, "cannot make an HTTP client");
    }
    curl_multi_setopt(k->multi, CURLMOPT_SOCKETFUNCTION, want_socket);
    curl_multi_setopt(k->multi, CURLMOPT_SOCKETDATA, k);
    curl_multi_setopt(k->multi, CURLMOPT_TIMERFUNCTION, want_timer);
    curl_multi_setopt(k->multi, CURLMOPT_TIMERDATA, k);
    curl_multi_setopt(k->multi, CURLMOPT_MAXCONNECTS, (long)KEPT_CONNECTIONS);
    *out = k;
    return OK;
}

status http_client_new(struct http_client **out, struct error *e)
{
    struct event_config *cfg = event_config_new();
    if (cfg) event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = cfg ? event_base_new_with_config(cfg) : NULL;
    if (cfg) event_config_free(cfg);
    if (!base) return fail(e, ERR_IO, "cannot make an event loop");
    signal(SIGPIPE, SIG_IGN); /* a write to a server that has gone is an error value */
    status s = client_new(out, base, e);
    if (s == OK)
        (*out)->own_base = true;
    else
        event_base_free(base);
    return s;
}

void http_client_free(struct http_client *k)
{
    if (!k) return;
    while (k->calls) {
        if (k->calls->cancelled)
            call_free(k->calls);
        else
            call_end(k->calls, HTTP_CAUSE_CANCELLED, "the client is closed");
    }
    if (k->multi) curl_multi_cleanup(k->multi);
    if (k->timer) event_free(k->timer);
    if (k->kick) event_free(k->kick);
    if (k->alarm) event_free(k->alarm);
    if (k->own_base) event_base_free(k->base);
    free(k);
}

bool http_client_step(struct http_client *k)
{
    return k->calls && event_base_loop(k->base, EVLOOP_ONCE) == 0;
}

void http_client_wait(struct http_client *k, uint32_t ms)
{
    event_add(k->alarm, &(struct timeval){ms / 1000, (long)(ms % 1000) * 1000});
    event_base_loop(k->base, EVLOOP_ONCE);
    event_del(k->alarm);
}

status http_client_run(struct http_client *k, struct error *e)
{
    while (k->calls)
        if (event_base_loop(k->base, EVLOOP_ONCE) < 0) return fail(e, ERR_IO, "the event loop failed");
    return OK;
}

struct http_client *http_exchange_client(struct http_exchange *x)
{
    struct http_loop *l = x->conn->loop;
    if (!l->client && client_new(&l->client, l->base, NULL) != OK) return NULL;
    return l->client;
}

/* ---- a whole answer ---------------------------------------------------------------------------------- */

struct fetch {
    struct http_answer *out;
    struct http_result result;
    char why[CALL_WHY];
};

static void fetch_head(struct http_call *c, void *user, int code)
{
    struct fetch *f = user;
    struct http_header h;
    for (size_t i = 0; http_call_field(c, i, &h); i++) {
        buf_add(&f->out->head, h.name, strlen(h.name) + 1);
        buf_add(&f->out->head, h.value, strlen(h.value) + 1);
    }
}

static void fetch_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct fetch *f = user;
    buf_add(&f->out->body, p, n);
}

static void fetch_end(struct http_call *c, void *user, const struct http_result *r)
{
    struct fetch *f = user;
    f->result = *r;
    f->out->code = r->code;
    strncpy(f->why, r->why, sizeof f->why - 1);
    f->result.why = f->why;
}

status http_fetch(struct http_client *k, const struct http_call_options *o, struct http_answer *out,
                  struct error *e)
{
    static const struct http_call_ops ops = {.head = fetch_head, .body = fetch_body, .end = fetch_end};
    struct http_call_options bounded = *o;
    struct fetch f = {.out = out};
    *out = (struct http_answer){0};
    if (!bounded.max_bytes) bounded.max_bytes = FETCH_MAX_BYTES;
    http_call_start(k, &bounded, &ops, &f);
    TRY(http_client_run(k, e));
    return http_result_error(&f.result, o->url, e);
}

const char *http_answer_header(const struct http_answer *a, const char *name)
{
    return head_find(&a->head, name);
}

void http_answer_deinit(struct http_answer *a)
{
    buf_deinit(&a->head);
    buf_deinit(&a->body);
}

status http_result_error(const struct http_result *r, const char *url, struct error *e)
{
    static const status code[] = {[HTTP_CAUSE_NONE] = OK,
                                  [HTTP_CAUSE_ARGUMENT] = ERR_ARG,
                                  [HTTP_CAUSE_RESOLVE] = ERR_NOT_FOUND,
                                  [HTTP_CAUSE_CONNECT] = ERR_IO,
                                  [HTTP_CAUSE_TLS] = ERR_IO,
                                  [HTTP_CAUSE_FORBIDDEN] = ERR_ARG,
                                  [HTTP_CAUSE_TIMEOUT] = ERR_IO,
                                  [HTTP_CAUSE_CUT] = ERR_IO,
                                  [HTTP_CAUSE_PROTOCOL] = ERR_FORMAT,
                                  [HTTP_CAUSE_LIMIT] = ERR_LIMIT,
                                  [HTTP_CAUSE_REDIRECTS] = ERR_FORMAT,
                                  [HTTP_CAUSE_BODY] = ERR_IO,
                                  [HTTP_CAUSE_CANCELLED] = ERR_CANCELLED};
    return r->cause ? fail(e, code[r->cause], "%.120s: %s", url, r->why) : OK;
}
