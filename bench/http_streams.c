/* Many streams at once: what they cost, whether every event comes in order, what an idle one holds in memory,
 * how soon clients that vanish are noticed. The server of src/http runs in a child process, the client here;
 * they share a page of figures.
 *
 * usage: bench_http serve PORT            GET /health, GET /stream?N,EVENTS,INTERVAL_MS (bench/http.sh uses
 * it) bench_http run [STREAMS ...]     the whole series; default 1000 5000 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "base/clock.h"
#include "http/http.h"
#include "support/cert.h"

enum { MAX_STREAMS = 20000, PAYLOAD = 120 /* bytes of an event, about those of a token in OpenAI's shape */ };

static struct shared {
    atomic_int n_open, n_gone;
    atomic_long ended_at_us[MAX_STREAMS];
    atomic_int port;
} * shared;

_Noreturn static void die(const char *what)
{
    fprintf(stderr, "bench_http: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- the server ---------------------------------------------------------------------------------------- */

struct stream {
    int n, at, events;
    uint32_t interval_ms;
    int64_t next_us;
};

static enum http_pull pull(struct http_exchange *x, void *user, struct buf *out)
{
    static char dots[PAYLOAD + 1];
    struct stream *s = user;
    char text[PAYLOAD + 32];
    int64_t now = clock_us();
    if (!dots[0]) memset(dots, '.', PAYLOAD);
    if (s->at == s->events) return HTTP_DONE;
    if (now < s->next_us) {
        http_set_timer(x, (uint32_t)((s->next_us - now) / 1000) + 1);
        return HTTP_WAIT;
    }
    s->next_us += (int64_t)s->interval_ms * 1000;
    int n = snprintf(text, sizeof text, "%d %s", s->at++, dots);
    http_sse_event(out, NULL, text, (size_t)n);
    return HTTP_MORE;
}

static void end(struct http_exchange *x, void *user, bool complete)
{
    struct stream *s = user;
    atomic_store(&shared->ended_at_us[s->n], clock_us());
    atomic_fetch_sub(&shared->n_open, 1);
    if (!complete) atomic_fetch_add(&shared->n_gone, 1);
    free(s);
}
static const struct http_responder streaming = {.pull = pull, .end = end};

static void stream(struct http_exchange *x, void *user)
{
    struct stream *s = mem_zalloc(1, sizeof *s);
    if (sscanf(http_query(x), "%d,%d,%u", &s->n, &s->events, &s->interval_ms) != 3 || s->n < 0 ||
        s->n >= MAX_STREAMS) {
        free(s);
        http_reply_error(x, 400, "N,EVENTS,INTERVAL_MS");
        return;
    }
    s->next_us = clock_us() + (int64_t)s->interval_ms * (s->n % 97 + 3) * 10; /* not all at the same moment */
    atomic_fetch_add(&shared->n_open, 1);
    http_attach(x, &streaming, s);
    http_stream(x, 200, "text/event-stream");
}

static void health(struct http_exchange *x, void *user)
{
    http_reply(x, 200, "application/json", "{\"status\":\"ok\"}\n", 16);
}

static const struct http_route routes[] = {
    {"GET", "/health", health, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE},
    {"GET", "/stream", stream, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE}};

static struct http_server *server;
static void on_signal(int number)
{
    http_server_quit(server);
}

static int serve(uint16_t port, const char *cert)
{
    struct error e = {0};
    const struct http_options o = {.port = port, .tls_cert = cert, .max_connections = MAX_STREAMS + 100};
    if (http_server_new(&server, &o, &e) != OK || http_server_listen(server, &e) != OK) {
        fprintf(stderr, "%s\n", e.msg);
        return 1;
    }
    http_server_add_routes(server, routes, COUNT_OF(routes));
    signal(SIGTERM, on_signal);
    atomic_store(&shared->port, http_server_port(server));
    int r = http_server_run(server, &e) != OK;
    http_server_free(server);
    return r;
}

static pid_t start(const char *cert)
{
    atomic_store(&shared->port, 0);
    atomic_store(&shared->n_open, 0);
    pid_t pid = fork();
    if (pid < 0) die("fork");
    if (pid == 0) _exit(serve(0, cert));
    while (!atomic_load(&shared->port)) usleep(1000);
    return pid;
}

static void stop(pid_t pid)
{
    int r;
    kill(pid, SIGTERM);
    waitpid(pid, &r, 0);
}

/* ---- what the kernel says about the server --------------------------------------------------------------
 */

static double number_in(pid_t pid, const char *file, const char *key)
{
    char path[64], line[256];
    double v = 0;
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    FILE *f = fopen(path, "r");
    if (!f) die(path);
    while (fgets(line, sizeof line, f))
        if (!strncmp(line, key, strlen(key))) {
            v = strtod(line + strlen(key), NULL);
            break;
        }
    fclose(f);
    return v;
}
static double rss_kib(pid_t pid)
{
    return number_in(pid, "status", "VmRSS:");
}
static double cpu_us(pid_t pid)
{
    return number_in(pid, "schedstat", "") / 1e3;
} /* of its one thread */

/* ---- the client ------------------------------------------------------------------------------------------
 */

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)atomic_load(&shared->port)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

struct client {
    int fd, next;
    size_t n;
    char line[256];
    bool done;
};

static void ask(int fd, int n, int events, int interval_ms)
{
    char text[128];
    int len = snprintf(text, sizeof text, "GET /stream?%d,%d,%d HTTP/1.1\r\nHost: a\r\n\r\n", n, events,
                       interval_ms);
    if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len) die("send");
}

/* Lines; an event is never cut by a chunk's end. False: one came out of order. */
static bool take(struct client *c, const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\n') {
            if (c->n < sizeof c->line - 1) c->line[c->n++] = p[i];
            continue;
        }
        c->line[c->n] = 0;
        if (!strncmp(c->line, "data: ", 6) && atoi(c->line + 6) != c->next++) return false;
        if (!strcmp(c->line, "0\r")) c->done = true;
        c->n = 0;
    }
    return true;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double at_share(double *v, size_t n, double share)
{
    if (!n) return 0;
    qsort(v, n, sizeof *v, by_size);
    return v[MIN((size_t)((double)n * share), n - 1)];
}

/* n streams of so many events each; /health is asked every 5 ms on one connection meanwhile. */
static void run_streams(int n, int events, int interval_ms)
{
    static double wait_ms[100000];
    static char got[65536];
    pid_t pid = start(NULL);
    struct client *c = mem_zalloc((size_t)n, sizeof *c);
    int ep = epoll_create1(0), left = n, wrong = 0, health_fd = dial();
    size_t n_wait = 0;
    double empty = rss_kib(pid);
    for (int i = 0; i < n; i++) {
        c[i].fd = dial();
        epoll_ctl(ep, EPOLL_CTL_ADD, c[i].fd, &(struct epoll_event){EPOLLIN, {.u32 = (uint32_t)i}});
    }
    epoll_ctl(ep, EPOLL_CTL_ADD, health_fd, &(struct epoll_event){EPOLLIN, {.u32 = UINT32_MAX}});
    double cpu = cpu_us(pid);
    int64_t begin = clock_us(), asked = 0, next = begin;
    for (int i = 0; i < n; i++) ask(c[i].fd, i, events, interval_ms);
    while (left) {
        struct epoll_event ev[256];
        if (!asked && clock_us() >= next) {
            static const char text[] = "GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
            asked = clock_us();
            if (send(health_fd, text, sizeof text - 1, MSG_NOSIGNAL) < 0) die("send");
        }
        int k = epoll_wait(ep, ev, 256, 1);
        for (int j = 0; j < k; j++) {
            if (ev[j].data.u32 == UINT32_MAX) {
                if (recv(health_fd, got, sizeof got, MSG_DONTWAIT) <= 0 || !asked) continue;
                if (n_wait < COUNT_OF(wait_ms)) wait_ms[n_wait++] = (double)(clock_us() - asked) / 1e3;
                next = clock_us() + 5000;
                asked = 0;
                continue;
            }
            struct client *s = &c[ev[j].data.u32];
            ssize_t r = recv(s->fd, got, sizeof got, MSG_DONTWAIT);
            if (r < 0 && errno == EAGAIN) continue;
            if (r <= 0 || !take(s, got, (size_t)r)) wrong++;
            if (r > 0 && !s->done) continue;
            if (s->next != events) wrong++;
            epoll_ctl(ep, EPOLL_CTL_DEL, s->fd, NULL);
            left--;
        }
    }
    double seconds = (double)(clock_us() - begin) / 1e6, spent = cpu_us(pid) - cpu;
    printf("%5d streams x %d events each %d ms: %d wrong, %.1f s (%.1f at best), %.1f us of processor per "
           "event, "
           "%.1f KiB each; /health p50 %.1f p99 %.1f ms\n",
           n, events, interval_ms, wrong, seconds, events * interval_ms / 1e3, spent / ((double)n * events),
           (rss_kib(pid) - empty) / n, at_share(wait_ms, n_wait, 0.5), at_share(wait_ms, n_wait, 0.99));
    fflush(stdout);
    for (int i = 0; i < n; i++) close(c[i].fd);
    close(health_fd);
    close(ep);
    free(c);
    stop(pid);
}

/* What a stream that waits holds: the second thousand, when pools and tables are there. */
static void run_idle(int n, const char *cert)
{
    pid_t pid = start(cert);
    int *fd = mem_zalloc((size_t)n * 2, sizeof *fd);
    SSL **ssl = mem_zalloc((size_t)n * 2, sizeof *ssl);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    double at[3] = {rss_kib(pid)};
    for (int i = 0; i < 2 * n; i++) {
        char text[128], got[4096];
        int len = snprintf(text, sizeof text, "GET /stream?%d,1,3600000 HTTP/1.1\r\nHost: a\r\n\r\n", i);
        fd[i] = dial();
        if (cert) {
            ssl[i] = SSL_new(ctx);
            SSL_set_fd(ssl[i], fd[i]);
            if (SSL_connect(ssl[i]) != 1 || SSL_write(ssl[i], text, len) != len ||
                SSL_read(ssl[i], got, sizeof got) <= 0)
                die("TLS");
        } else {
            ask(fd[i], i, 1, 3600000);
            if (recv(fd[i], got, sizeof got, 0) <= 0) die("recv");
        }
        if (i == n - 1) at[1] = rss_kib(pid);
    }
    at[2] = rss_kib(pid);
    printf("%5d idle streams%s: %.2f KiB each (the first %d: %.2f)\n", 2 * n, cert ? " over TLS" : "",
           (at[2] - at[1]) / n, n, (at[1] - at[0]) / n);
    fflush(stdout);
    for (int i = 0; i < 2 * n; i++) {
        close(fd[i]);
        SSL_free(ssl[i]);
    }
    SSL_CTX_free(ctx);
    free(ssl);
    free(fd);
    stop(pid);
}

static int descriptors(pid_t pid)
{
    char command[96];
    int n = 0;
    snprintf(command, sizeof command, "ls /proc/%d/fd | wc -l", (int)pid);
    FILE *f = popen(command, "r");
    if (!f || fscanf(f, "%d", &n) != 1) die("descriptors");
    pclose(f);
    return n;
}

/* n clients go in the middle of their streams, ten times. */
static void run_vanish(int n)
{
    pid_t pid = start(NULL);
    int *fd = mem_zalloc((size_t)n, sizeof *fd), before = descriptors(pid);
    int64_t *closed = mem_zalloc((size_t)n, sizeof *closed);
    double *late = mem_zalloc((size_t)n, sizeof *late), rss[10], worst = 0, cpu_ms = 0;
    for (int round = 0; round < 10; round++) {
        char got[4096];
        for (int i = 0; i < n; i++) {
            fd[i] = dial();
            ask(fd[i], i, 1000, 1000);
        }
        for (int i = 0; i < n; i++)
            if (recv(fd[i], got, sizeof got, 0) <= 0) die("recv");
        double cpu = cpu_us(pid);
        for (int i = 0; i < n; i++) {
            closed[i] = clock_us();
            close(fd[i]);
        }
        for (int ms = 0; atomic_load(&shared->n_open) && ms < 10000; ms++) usleep(1000);
        cpu_ms = (cpu_us(pid) - cpu) / 1e3;
        if (atomic_load(&shared->n_open)) die("some are still there");
        for (int i = 0; i < n; i++)
            late[i] = (double)(atomic_load(&shared->ended_at_us[i]) - closed[i]) / 1e3;
        double max = at_share(late, (size_t)n, 1);
        worst = MAX(worst, max);
        rss[round] = rss_kib(pid);
    }
    usleep(50000);
    printf("%5d clients vanish, ten rounds: noticed within %.1f ms (last round: p50 %.1f, p99 %.1f; %.1f ms "
           "of processor for all); "
           "resident after round 1 %.0f, 2 %.0f, 10 %.0f KiB; %d descriptors more than before\n",
           n, worst, at_share(late, (size_t)n, 0.5), at_share(late, (size_t)n, 0.99), cpu_ms, rss[0], rss[1],
           rss[9], descriptors(pid) - before);
    fflush(stdout);
    free(fd);
    free(closed);
    free(late);
    stop(pid);
}

int main(int argc, char **argv)
{
    static char cert[64];
    struct rlimit l = {MAX_STREAMS + 200, MAX_STREAMS + 200};
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) die("mmap");
    setrlimit(RLIMIT_NOFILE, &l);
    signal(SIGPIPE, SIG_IGN);
    if (argc == 3 && !strcmp(argv[1], "serve")) return serve((uint16_t)atoi(argv[2]), NULL);
    if (argc < 2 || strcmp(argv[1], "run") != 0) {
        fprintf(stderr, "usage: bench_http serve PORT | run [STREAMS ...]\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) run_streams(atoi(argv[i]), 100, 100);
    if (argc == 2) {
        run_streams(1000, 100, 100);
        run_streams(5000, 100, 100);
    }
    snprintf(cert, sizeof cert, "/tmp/bench-http-%d.pem", (int)getpid());
    cert_write(cert);
    run_idle(1000, NULL);
    run_idle(1000, cert);
    unlink(cert);
    run_vanish(1000);
    return 0;
}
