/* A restart that refuses nobody: the listening sockets go to a new process of this program, which starts with
 * the same arguments while this one goes on serving. Both accept from the same sockets, so no connection that
 * waits in them is lost; when the new one is ready it says so through a pipe, and this one drains.
 *
 * Passed as systemd passes sockets (sd_listen_fds(3)), from descriptor 3 on, so that one way in serves both;
 * the pipe comes after them. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "http/http_int.h"

enum { FIRST_PASSED = 3, OUT_OF_THE_WAY = FIRST_PASSED + HTTP_MAX_LOOPS + 1 };

extern char **environ;

/* Everything the child needs, made before the fork: other threads may hold the allocator's locks in it. */
struct start {
    char path[PATH_MAX];
    struct buf words; /* of the command line, NUL after each */
    char **argv, **envp;
    char listen_pid[32], listen_fds[32], ready_fd[32];
    int fd[HTTP_MAX_LOOPS + 1]; /* the sockets, then the pipe */
    int n_fd;
};

static void start_deinit(struct start *s)
{
    buf_deinit(&s->words);
    free(s->argv);
    free(s->envp);
}

/* The file that this program was started from: after an upgrade another one of the same name. */
static status find_program(struct start *s, struct error *e)
{
    static const char gone[] = " (deleted)";
    ssize_t n = readlink("/proc/self/exe", s->path, sizeof s->path - 1);
    if (n < 0) return fail(e, ERR_IO, "/proc/self/exe: %s", strerror(errno));
    s->path[n] = 0;
    size_t tail = sizeof gone - 1;
    if ((size_t)n > tail && !strcmp(s->path + n - tail, gone)) s->path[(size_t)n - tail] = 0;
    s->words.max = 1 << 20;
    TRY(buf_read_file(&s->words, "/proc/self/cmdline", e));
    size_t n_word = 0;
    for (size_t i = 0; i < s->words.n; i++) n_word += s->words.data[i] == 0;
    s->argv = mem_zalloc(n_word + 1, sizeof *s->argv);
    char *p = s->words.data;
    for (size_t i = 0; i < n_word; i++, p += strlen(p) + 1) s->argv[i] = p;
    return n_word ? OK : fail(e, ERR_IO, "/proc/self/cmdline is empty");
}

static void make_environment(struct start *s)
{
    static const char *const ours[] = {"LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "CORRAL_READY_FD="};
    size_t n = 0, at = 0;
    while (environ[n]) n++;
    s->envp = mem_zalloc(n + 4, sizeof *s->envp);
    for (size_t i = 0; i < n; i++) {
        bool skip = false;
        for (size_t k = 0; k < COUNT_OF(ours); k++)
            skip = skip || !strncmp(environ[i], ours[k], strlen(ours[k]));
        if (!skip) s->envp[at++] = environ[i];
    }
    snprintf(s->listen_fds, sizeof s->listen_fds, "LISTEN_FDS=%d", s->n_fd - 1);
    snprintf(s->ready_fd, sizeof s->ready_fd, "CORRAL_READY_FD=%d", FIRST_PASSED + s->n_fd - 1);
    s->envp[at++] = s->listen_fds;
    s->envp[at++] = s->ready_fd;
    s->envp[at++] = s->listen_pid;
}

/* In the child: nothing but system calls. */
static _Noreturn void become(struct start *s, const sigset_t *mask)
{
    static const int ours[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};
    for (size_t i = 0; i < COUNT_OF(ours); i++) signal(ours[i], SIG_DFL); /* what comes now is meant for it */
    sigprocmask(SIG_SETMASK, mask, NULL);

    static const char name[] = "LISTEN_PID=";
    char digits[16];
    int n = 0, at = sizeof name - 1;
    memcpy(s->listen_pid, name, sizeof name);
    for (pid_t pid = getpid(); pid; pid /= 10) digits[n++] = (char)('0' + pid % 10);
    while (n) s->listen_pid[at++] = digits[--n];
    s->listen_pid[at] = 0;

    for (int i = 0; i < s->n_fd; i++) s->fd[i] = fcntl(s->fd[i], F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
    for (int i = 0; i < s->n_fd; i++)
        if (s->fd[i] < 0 || dup2(s->fd[i], FIRST_PASSED + i) < 0) _exit(126);
    close_range((unsigned)(FIRST_PASSED + s->n_fd), ~0u, 0);
    execve(s->path, s->argv, s->envp);
    _exit(127);
}

/* ---- the process that goes ----------------------------------------------------------------------------- */

struct handover {
    struct event *ready;
    pid_t child;
    int fd; /* of the pipe, to read */
};

static void handover_free(struct handover *h)
{
    event_free(h->ready);
    close(h->fd);
    free(h);
}

/* Stopping in the middle stops both. */
void handover_abandon(struct http_server *s)
{
    if (!s->handover) return;
    kill(s->handover->child, SIGTERM);
    handover_free(s->handover);
    s->handover = NULL;
}

static void on_ready(int fd, short what, void *arg)
{
    struct http_server *s = arg;
    pid_t child = s->handover->child;
    char byte, state[64];
    ssize_t n = read(fd, &byte, 1);
    handover_free(s->handover);
    s->handover = NULL;
    if (n == 1 && atomic_load(&s->draining)) {
        kill(child, SIGTERM); /* this one was told to stop meanwhile, and means both */
        return;
    }
    if (n == 1) {
        LOG(INFO, "http", "handover", "process %d serves from now on", (int)child);
        snprintf(state, sizeof state, "MAINPID=%d\nREADY=1", (int)child);
        http_notify(state);
        s->handed_over = true;
        s->bound = false; /* a Unix socket's file is the other's now */
        http_server_drain(s, atomic_load(&s->handover_ms));
        return;
    }
    int result = 0;
    waitpid(child, &result, 0); /* it ends, or its end of the pipe would be open */
    LOG(ERROR, "http", "handover", "the new process ended before it was ready (status %d); this one goes on",
        WIFEXITED(result) ? WEXITSTATUS(result) : -1);
}

static status start_other(struct http_server *s, struct start *st, struct error *e)
{
    int pipe_fd[2];
    if (pipe2(pipe_fd, O_CLOEXEC) != 0) return fail(e, ERR_IO, "pipe: %s", strerror(errno));
    for (uint32_t i = 0; i < s->n_socket; i++) st->fd[st->n_fd++] = s->loop[i].listen_fd;
    st->fd[st->n_fd++] = pipe_fd[1];
    make_environment(st);
    struct handover *h = mem_zalloc(1, sizeof *h);
    h->fd = pipe_fd[0];
    h->ready = event_new(s->loop[0].base, h->fd, EV_READ, on_ready, s);
    if (h->ready) event_add(h->ready, NULL);
    sigset_t all, before; /* a signal to the child must not end in our handlers, between fork and exec */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    h->child = h->ready ? fork() : -1;
    if (h->child == 0) become(st, &before);
    int why = errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(pipe_fd[1]);
    if (h->child < 0) {
        handover_free(h);
        return fail(e, ERR_IO, "fork: %s", strerror(why));
    }
    s->handover = h;
    return OK;
}

void handover_begin(struct http_server *s)
{
    struct error e = {0};
    struct start st = {0};
    if (s->handover || atomic_load(&s->draining)) {
        LOG(WARN, "http", "handover", "one is under way already");
        return;
    }
    status r = find_program(&st, &e);
    if (r == OK) r = start_other(s, &st, &e);
    if (r == OK)
        LOG(INFO, "http", "handover", "started %s as process %d", st.path, (int)s->handover->child);
    else
        LOG(ERROR, "http", "handover", "%s; this process goes on", e.msg);
    start_deinit(&st);
}

void http_server_hand_over(struct http_server *s, uint32_t drain_ms)
{
    atomic_store(&s->handover_ms, drain_ms);
    atomic_store(&s->hand_over, true);
    loop_signal(&s->loop[0]);
}

/* ---- the process that comes ------------------------------------------------------------------------------
 */

status http_passed_sockets(struct http_passed *out, struct error *e)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS"), *ready = getenv("CORRAL_READY_FD");
    *out = (struct http_passed){0};
    if (!pid || !count || strtol(pid, NULL, 10) != (long)getpid()) return OK;
    long n = strtol(count, NULL, 10), ready_fd = ready ? strtol(ready, NULL, 10) : 0;
    unsetenv("LISTEN_PID"); /* not meant for children */
    unsetenv("LISTEN_FDS");
    unsetenv("LISTEN_FDNAMES");
    unsetenv("CORRAL_READY_FD");
    if (n < 0 || n > HTTP_MAX_LOOPS)
        return fail(e, ERR_ARG, "%ld sockets were passed to listen on, but this serves at most %d", n,
                    HTTP_MAX_LOOPS);
    if (n) *out = (struct http_passed){.fd = FIRST_PASSED, .n = (uint32_t)n};
    if (n && ready_fd == FIRST_PASSED + n && fcntl((int)ready_fd, F_SETFD, FD_CLOEXEC) == 0)
        out->ready_fd = (int)ready_fd;
    return OK;
}

void handover_say_ready(struct http_server *s)
{
    int fd = s->o.passed.ready_fd;
    if (fd <= 0) return;
    ssize_t n = write(fd, "r", 1);
    (void)n; /* the other one has gone: nothing to say */
    close(fd);
    s->o.passed.ready_fd = 0;
}
