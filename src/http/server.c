/* The listening socket, the event loop, wake-ups and draining. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/listener.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "http/http_int.h"

enum { BACKLOG = 4096, ACCEPT_RETRY_MS = 100 };

int64_t loop_now_us(void)
{
    return clock_us();
}

const char *loop_date(struct http_loop *l)
{
    /* Names by hand: strftime's depend on the locale. */
    static const char day[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char mon[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t now = time(NULL);
    struct tm t;
    if (now != l->date_at && gmtime_r(&now, &t)) {
        snprintf(l->date, sizeof l->date, "%s, %02d %s %04d %02d:%02d:%02d GMT", day[t.tm_wday % 7],
                 t.tm_mday, mon[t.tm_mon % 12], (t.tm_year + 1900) % 10000, t.tm_hour, t.tm_min, t.tm_sec);
        l->date_at = now;
    }
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

void http_server_drain(struct http_server *s, uint32_t deadline_ms)
{
    atomic_store(&s->drain_ms, deadline_ms);
    atomic_store(&s->draining, true);
    loop_signal(&s->loop);
}

void http_server_quit(struct http_server *s)
{
    atomic_store(&s->draining, true);
    atomic_store(&s->quit, true);
    loop_signal(&s->loop);
}

bool http_server_draining(const struct http_server *s)
{
    return atomic_load(&s->draining);
}
uint32_t http_server_connections(const struct http_server *s)
{
    return atomic_load(&s->loop.n_conn);
}
uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

static void on_drain_deadline(int fd, short what, void *arg)
{
    struct http_loop *l = arg;
    LOG(WARN, "http", "drain", "deadline passed, connections=%u are cut", atomic_load(&l->n_conn));
    event_base_loopbreak(l->base);
}

static void drain_begin(struct http_loop *l)
{
    uint32_t ms = atomic_load(&l->server->drain_ms);
    l->drain_begun = true;
    if (l->listener) evconnlistener_free(l->listener); /* closes the socket */
    l->listener = NULL;
    l->server->listen_fd = -1;
    LOG(INFO, "http", "drain", "connections=%u deadline_ms=%u", atomic_load(&l->n_conn), ms);
    for (struct http_conn *c = l->conns, *next; c; c = next) {
        next = c->next;
        conn_stop(c);
    }
    event_add(l->drain_timer, &(struct timeval){ms / 1000, (suseconds_t)(ms % 1000) * 1000});
    if (!l->conns) event_base_loopbreak(l->base);
}

void loop_conn_closed(struct http_loop *l)
{
    if (atomic_fetch_sub(&l->n_conn, 1) == 1 && l->drain_begun) event_base_loopbreak(l->base);
}

static void on_wake(int fd, short what, void *arg)
{
    struct http_loop *l = arg;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);
    (void)n;
    wakers_run(l);
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

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *a, int len,
                      void *arg)
{
    struct http_loop *l = arg;
    if (atomic_load(&l->n_conn) >= l->server->o.max_connections) {
        static const char full[] =
            "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"
            "Content-Length: 0\r\n\r\n";
        ssize_t n = send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        (void)n;
        close(fd);
        LOG(WARN, "http", "full", "connections=%u", l->server->o.max_connections);
        return;
    }
    char peer[64];
    peer_name(peer, sizeof peer, a);
    conn_accept(l, fd, peer);
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

/* ---- the socket -------------------------------------------------------------------------------------- */

static status bind_unix(int *out, const char *path, struct error *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof a.sun_path)
        return fail(e, ERR_ARG, "%s: the path of a Unix socket is at most %zu bytes", path,
                    sizeof a.sun_path - 1);
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(e, ERR_IO, "socket: %s", strerror(errno));
    /* A socket file that nobody listens on is left over from a server that was killed. */
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && connect(fd, (struct sockaddr *)&a, sizeof a) != 0 &&
        errno == ECONNREFUSED)
        unlink(path);
    close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(e, ERR_IO, "socket: %s", strerror(errno));
    mode_t old = umask(0177); /* the owner only, from the first moment */
    int r = bind(fd, (struct sockaddr *)&a, sizeof a);
    int why = errno;
    umask(old);
    if (r != 0) {
        close(fd);
        return fail(e, ERR_IO, "cannot listen on %s: %s", path,
                    why == EADDRINUSE ? "another process does, or a file is in the way" : strerror(why));
    }
    *out = fd;
    return OK;
}

static status bind_tcp(int *out, uint16_t *port_out, const char *host, uint16_t port, struct error *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *list = NULL;
    char service[8];
    int fd = -1, one = 1, why = 0;
    snprintf(service, sizeof service, "%u", port);
    int r = getaddrinfo(host, service, &hints, &list);
    if (r != 0) return fail(e, ERR_ARG, "cannot listen on %s: %s", host, gai_strerror(r));
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0) {
            why = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, a->ai_addr, a->ai_addrlen) != 0) {
            why = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0 && why == EADDRINUSE)
        return fail(e, ERR_IO,
                    "port %u on %s is taken by another process: stop it, or choose another port with --port "
                    "(0: any free one)",
                    port, host);
    if (fd < 0 && why == EACCES)
        return fail(e, ERR_IO, "port %u on %s: permission denied (ports below 1024 need privileges)", port,
                    host);
    if (fd < 0) return fail(e, ERR_IO, "cannot listen on %s:%u: %s", host, port, strerror(why));

    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    if (getsockname(fd, (struct sockaddr *)&a, &n) == 0)
        *port_out = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                                  : ((struct sockaddr_in *)&a)->sin_port);
    *out = fd;
    return OK;
}

/* ---- life cycle -------------------------------------------------------------------------------------- */

static void log_libevent(int severity, const char *text)
{
    if (severity >= EVENT_LOG_WARN) LOG(WARN, "http", "libevent", "%s", text);
}

static status loop_init(struct http_loop *l, struct http_server *s, struct error *e)
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
    return OK;
}

static void fill_defaults(struct http_options *o)
{
    if (!o->max_head_bytes) o->max_head_bytes = 32 * 1024;
    if (!o->max_target_bytes) o->max_target_bytes = 8 * 1024;
    if (!o->max_body_bytes) o->max_body_bytes = 16u << 20;
    if (!o->max_pipelined_bytes) o->max_pipelined_bytes = 64 * 1024;
    if (!o->max_connections) o->max_connections = 1024;
    if (!o->head_timeout_ms) o->head_timeout_ms = 10 * 1000;
    if (!o->body_timeout_ms) o->body_timeout_ms = 60 * 1000;
    if (!o->write_timeout_ms) o->write_timeout_ms = 30 * 1000;
    if (!o->idle_timeout_ms) o->idle_timeout_ms = 75 * 1000;
}

status http_server_new(struct http_server **out, const struct http_options *o, struct error *e)
{
    struct http_server *s = mem_zalloc(1, sizeof *s);
    signal(SIGPIPE, SIG_IGN); /* a write to a client that has gone is an error value */
    event_set_log_callback(log_libevent);
    s->o = *o;
    fill_defaults(&s->o);
    s->o.host = mem_strdup(o->host ? o->host : "127.0.0.1");
    s->o.unix_path = o->unix_path ? mem_strdup(o->unix_path) : NULL;
    s->id_key = rng_seed_from_os();
    s->listen_fd = -1;
    s->loop.wake_fd = -1;

    status st = loop_init(&s->loop, s, e);
    if (st == OK)
        st = s->o.unix_path ? bind_unix(&s->listen_fd, s->o.unix_path, e)
                            : bind_tcp(&s->listen_fd, &s->port, s->o.host, s->o.port, e);
    if (st != OK) {
        http_server_free(s);
        return st;
    }
    s->bound = true;
    *out = s;
    return OK;
}

void http_server_add_routes(struct http_server *s, const struct http_route *routes, size_t n)
{
    s->route = mem_realloc(s->route, s->n_route + n, sizeof *routes);
    memcpy(s->route + s->n_route, routes, n * sizeof *routes);
    s->n_route += n;
}

/* Cut what is left; each exchange is told. */
static void end_all(struct http_loop *l)
{
    l->drain_begun = false;
    while (l->conns) conn_kill(l->conns);
}

status http_server_listen(struct http_server *s, struct error *e)
{
    if (s->listening) return OK;
    if (listen(s->listen_fd, BACKLOG) != 0)
        return fail(e, ERR_IO, "cannot listen on port %u: %s", s->port,
                    errno == EADDRINUSE ? "another process has taken it meanwhile" : strerror(errno));
    s->listening = true;
    return OK;
}

status http_server_run(struct http_server *s, struct error *e)
{
    struct http_loop *l = &s->loop;
    TRY(http_server_listen(s, e));
    l->listener = evconnlistener_new(l->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0,
                                     s->listen_fd);
    if (!l->listener) return fail(e, ERR_IO, "cannot listen");
    evconnlistener_set_error_cb(l->listener, on_accept_error);
    int r = event_base_dispatch(l->base);
    end_all(l);
    return r < 0 ? fail(e, ERR_IO, "the event loop failed: %s", strerror(errno)) : OK;
}

void http_server_free(struct http_server *s)
{
    if (!s) return;
    struct http_loop *l = &s->loop;
    end_all(l);
    if (l->base) wakers_run(l); /* drops the references of what was fired last */
    if (l->listener)
        evconnlistener_free(l->listener);
    else if (s->listen_fd >= 0)
        close(s->listen_fd);
    if (s->o.unix_path && s->bound) unlink(s->o.unix_path);
    struct event *ev[] = {l->wake_event, l->drain_timer, l->accept_timer};
    for (size_t i = 0; i < COUNT_OF(ev); i++)
        if (ev[i]) event_free(ev[i]);
    if (l->base) event_base_free(l->base);
    if (l->wake_fd >= 0) close(l->wake_fd);
    buf_deinit(&l->scratch);
    free((char *)s->o.host);
    free((char *)s->o.unix_path);
    free(s->route);
    free(s);
}
