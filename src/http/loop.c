/* An event loop: accepting, wake-ups, draining. Each has a thread and listening socket of its own. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/listener.h>

#include "base/clock.h"
#include "base/log.h"
#include "http/client.h"
#include "http/http_int.h"
#include "http/tls.h"

enum { ACCEPT_RETRY_MS = 100, TLS_LOOK_S = 3 };

int64_t loop_now_us(void)
{
    return clock_us();
}

void http_date(char out[40], time_t at)
{
    /* Names by hand: strftime's depend on the locale. */
    static const char day[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char mon[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm t = {0};
    gmtime_r(&at, &t);
    snprintf(out, 40, "%s, %02d %s %04d %02d:%02d:%02d GMT", day[t.tm_wday % 7], t.tm_mday,
             mon[t.tm_mon % 12], (t.tm_year + 1900) % 10000, t.tm_hour, t.tm_min, t.tm_sec);
}

const char *loop_date(struct http_loop *l)
{
    time_t now = time(NULL);
    if (now != l->date_at) http_date(l->date, l->date_at = now);
    return l->date;
}

void loop_signal(struct http_loop *l)
{
    uint64_t one = 1;
    int saved = errno;
    ssize_t n = write(l->wake_fd, &one, sizeof one); /* fails only when a wake-up is pending already */
    (void)n;
    errno = saved;
}

/* ---- draining ---------------------------------------------------------------------------------------- */

static void on_drain_deadline(int fd, short what, void *arg)
{
    struct http_loop *l = arg;
    LOG(WARN, "http", "drain", "deadline passed, connections=%u are cut", atomic_load(&l->server->n_conn));
    event_base_loopbreak(l->base);
}

static void drain_begin(struct http_loop *l)
{
    uint32_t ms = atomic_load(&l->server->drain_ms);
    l->drain_begun = true;
    if (l->listener) evconnlistener_free(l->listener); /* closes the socket */
    l->listener = NULL;
    l->listen_fd = -1;
    if (l == l->server->loop) {
        if (!l->server->handed_over) http_notify("STOPPING=1");
        LOG(INFO, "http", "drain", "connections=%u deadline_ms=%u", atomic_load(&l->server->n_conn), ms);
    }
    for (struct http_conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        conn_stop(c);
    }
    event_add(l->drain_timer, &(struct timeval){ms / 1000, (suseconds_t)(ms % 1000) * 1000});
    if (!l->conns) event_base_loopbreak(l->base);
}

void loop_conn_closed(struct http_loop *l, const struct peer *who)
{
    atomic_fetch_sub(&l->server->n_conn, 1);
    peers_leave(l->server->peers, who);
    if (!l->conns && l->drain_begun) event_base_loopbreak(l->base);
}

/* ---- certificates ------------------------------------------------------------------------------------ */

static void reload(struct http_server *s)
{
    struct error e;
    if (tls_reload(s->tls, &e) == OK)
        LOG(INFO, "http", "certificate", "read again");
    else
        LOG(ERROR, "http", "certificate", "the old one stays in use: %s", e.msg);
}

static void on_tls_timer(int fd, short what, void *arg)
{
    struct http_loop *l = arg;
    if (tls_changed(l->server->tls)) reload(l->server);
}

static void on_wake(int fd, short what, void *arg)
{
    struct http_loop *l = arg;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
    wakers_run(l);
    if (l == l->server->loop && l->server->tls && atomic_exchange(&l->server->reload, false))
        reload(l->server);
    if (l == l->server->loop && atomic_exchange(&l->server->hand_over, false)) handover_begin(l->server);
    if (atomic_load(&l->server->quit))
        event_base_loopbreak(l->base);
    else if (atomic_load(&l->server->draining) && !l->drain_begun)
        drain_begin(l);
}

/* ---- accepting --------------------------------------------------------------------------------------- */

static void peer_name(char *out, size_t n, const struct sockaddr *a)
{
    char text[INET6_ADDRSTRLEN] = "";
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)a;
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        snprintf(out, n, "%s:%u", text, ntohs(v4->sin_port));
    } else if (a->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)a;
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        snprintf(out, n, "[%s]:%u", text, ntohs(v6->sin6_port));
    } else {
        snprintf(out, n, "unix");
    }
}

/* Refused without a connection's costs; under TLS nothing that was written would be understood. */
static void turn_away(struct http_loop *l, int fd, const char *why)
{
    static const char full[] = "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
                               "Content-Length: 0\r\n\r\n";
    ssize_t n = l->server->tls ? 0 : send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)n;
    close(fd);
    LOG(WARN, "http", "full", "%s", why);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *a, int len,
                      void *arg)
{
    struct http_loop *l = arg;
    struct http_server *s = l->server;
    struct origin from = {0};
    if (atomic_load(&s->n_conn) >= s->o.max_connections) {
        turn_away(l, fd, "as many connections as are allowed in all");
        return;
    }
    peer_name(from.name, sizeof from.name, a);
    from.has_address = address_read(from.address, a);
    const unsigned char *address = from.has_address ? from.address : NULL;
    from.proxied = proxies_have(s->proxies, address);
    if (!from.proxied && address && !peers_enter(s->peers, &from.who, address)) {
        turn_away(l, fd, from.name);
        return;
    }
    conn_accept(l, fd, &from);
}

static void on_accept_retry(int fd, short what, void *arg)
{
    struct http_loop *l = arg;
    if (l->listener) evconnlistener_enable(l->listener);
}

/* Out of descriptors, most likely: pause instead of spinning. */
static void on_accept_error(struct evconnlistener *listener, void *arg)
{
    struct http_loop *l = arg;
    LOG(WARN, "http", "accept", "error=\"%s\"", strerror(errno));
    evconnlistener_disable(listener);
    event_add(l->accept_timer, &(struct timeval){0, ACCEPT_RETRY_MS * 1000});
}

/* ---- life cycle -------------------------------------------------------------------------------------- */

status loop_init(struct http_loop *l, struct http_server *s, struct error *e)
{
    l->server = s;
    l->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_fd < 0) return fail(e, ERR_IO, "eventfd: %s", strerror(errno));
    struct event_config *cfg = event_config_new();
    if (cfg) event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK); /* other threads only use the eventfd */
    l->base = cfg ? event_base_new_with_config(cfg) : NULL;
    if (cfg) event_config_free(cfg);
    if (!l->base) return fail(e, ERR_IO, "cannot make an event loop");
    l->wake_event = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
    l->drain_timer = event_new(l->base, -1, 0, on_drain_deadline, l);
    l->accept_timer = event_new(l->base, -1, 0, on_accept_retry, l);
    if (!l->wake_event || !l->drain_timer || !l->accept_timer || event_add(l->wake_event, NULL) != 0)
        return fail(e, ERR_MEMORY, "cannot make an event loop");
    if (s->tls && l == s->loop) {
        l->tls_timer = event_new(l->base, -1, EV_PERSIST, on_tls_timer, l);
        if (!l->tls_timer || event_add(l->tls_timer, &(struct timeval){TLS_LOOK_S, 0}) != 0)
            return fail(e, ERR_MEMORY, "cannot make an event loop");
    }
    return OK;
}

/* Cut what is left; each exchange is told. */
static void end_all(struct http_loop *l)
{
    l->drain_begun = false;
    while (l->conns) conn_kill(l->conns);
}

status loop_run(struct http_loop *l, struct error *e)
{
    l->listener = evconnlistener_new(l->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0,
                                     l->listen_fd);
    if (!l->listener) return fail(e, ERR_IO, "cannot listen");
    evconnlistener_set_error_cb(l->listener, on_accept_error);
    int r = event_base_dispatch(l->base);
    int why = errno;
    end_all(l);
    if (l->listener) evconnlistener_free(l->listener);
    l->listener = NULL;
    l->listen_fd = -1;
    event_base_loop(l->base,
                    EVLOOP_NONBLOCK); /* libevent closes a freed connection's socket in its next round */
    return r < 0 ? fail(e, ERR_IO, "the event loop failed: %s", strerror(why)) : OK;
}

void loop_deinit(struct http_loop *l)
{
    end_all(l);
    http_client_free(l->client);
    if (l->base) wakers_run(l); /* drops the references of what was fired last */
    if (l->listener)
        evconnlistener_free(l->listener);
    else if (l->listen_fd >= 0)
        close(l->listen_fd);
    struct event *ev[] = {l->wake_event, l->drain_timer, l->accept_timer, l->tls_timer};
    for (size_t i = 0; i < COUNT_OF(ev); i++)
        if (ev[i]) event_free(ev[i]);
    if (l->base) event_base_free(l->base);
    if (l->wake_fd >= 0) close(l->wake_fd);
    buf_deinit(&l->scratch);
}
