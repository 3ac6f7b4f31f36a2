#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pool/pool_int.h"

enum { REPORT_FD = 3 };

/* ---- the environment --------------------------------------------------------------------------------- */

/* What is set for the gateway is not meant for its workers: CORRAL_PORT is its own port, and tokens and keys
 * are nothing that a process needs which opens files from anywhere. */
static bool inherited(const char *entry)
{
    static const char *const keep[] = {"CORRAL_HOME=", "CORRAL_PLUGINS=", "CORRAL_CUDA_", "CORRAL_SIM_",
                                       "CORRAL_FAKE_"};
    static const char *const drop[] = {"CORRAL_",       "LISTEN_", "NOTIFY_SOCKET=", "WATCHDOG_", "HF_",
                                       "HUGGING_FACE_", "AWS_"};
    for (size_t i = 0; i < COUNT_OF(keep); i++)
        if (!strncmp(entry, keep[i], strlen(keep[i]))) return true;
    for (size_t i = 0; i < COUNT_OF(drop); i++)
        if (!strncmp(entry, drop[i], strlen(drop[i]))) return false;
    return true;
}

static bool replaced(const char *entry, char *const *by)
{
    size_t n = strcspn(entry, "=") + 1;
    for (; by && *by; by++)
        if (!strncmp(entry, *by, n)) return true;
    return false;
}

static char **make_environment(char *const *more, const char *report)
{
    size_t n = 2, k = 0;
    for (char **p = environ; *p; p++) n++;
    for (char *const *p = more; p && *p; p++) n++;
    char **out = mem_zalloc(n, sizeof *out);
    for (char **p = environ; *p; p++)
        if (inherited(*p) && !replaced(*p, more)) out[k++] = *p;
    for (char *const *p = more; p && *p; p++) out[k++] = *p;
    if (report) out[k++] = (char *)report;
    return out;
}

/* ---- spawning ---------------------------------------------------------------------------------------- */

static void limit(int what, rlim_t to)
{
    struct rlimit l;
    if (getrlimit(what, &l) != 0) return;
    l.rlim_cur = MIN(to, l.rlim_max);
    if (what != RLIMIT_NOFILE) l.rlim_max = l.rlim_cur;
    setrlimit(what, &l);
}

struct ends {
    int null, out[2], report[2];
};

/* In the new process, between fork and exec: only what is allowed there. */
static _Noreturn void become(const struct child_options *o, char **env, const struct ends *f, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0); /* Ctrl-C is for the gateway, which then ends its workers in order */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, 65536);
    if (o->memory_bytes) limit(RLIMIT_DATA, o->memory_bytes);
    int report = fcntl(f->report[1], F_DUPFD, 10);
    int out = fcntl(f->out[1], F_DUPFD, 10), null = fcntl(f->null, F_DUPFD, 10);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(o->plain ? null : out, STDERR_FILENO);
    if (!o->plain) dup2(report, REPORT_FD);
    close_range(o->plain ? REPORT_FD : REPORT_FD + 1, ~0U, 0);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(o->program, o->argv, env);
    static const char why[] = "corral: the program of a worker cannot be run\n";
    if (write(STDERR_FILENO, why, sizeof why - 1) < 0) _exit(126);
    _exit(127);
}

static void close_pair(int f[2])
{
    for (int i = 0; i < 2; i++)
        if (f[i] >= 0) close(f[i]);
}

status child_spawn(struct child *c, const struct child_options *o, struct error *e)
{
    struct ends f = {-1, {-1, -1}, {-1, -1}};
    char report[32];
    pid_t parent = getpid();
    *c = (struct child){.pidfd = -1, .out = -1, .report = -1};
    snprintf(report, sizeof report, "CORRAL_REPORT_FD=%d", REPORT_FD);
    f.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (f.null < 0 || pipe2(f.out, O_CLOEXEC) != 0 || pipe2(f.report, O_CLOEXEC) != 0) {
        status s = fail(e, ERR_IO, "no worker: %s", strerror(errno));
        close_pair(f.out);
        close_pair(f.report);
        if (f.null >= 0) close(f.null);
        return s;
    }
    char **env = make_environment(o->env, o->plain ? NULL : report);
    pid_t pid = fork();
    int why = errno;
    if (pid == 0) become(o, env, &f, parent);
    free(env);
    close(f.null);
    close(f.out[1]);
    close(f.report[1]);
    if (pid < 0) {
        close(f.out[0]);
        close(f.report[0]);
        return fail(e, ERR_IO, "no worker: %s", strerror(why));
    }
    if (o->plain) close(f.report[0]);
    *c = (struct child){
        .pid = pid, .pidfd = pidfd_open(pid, 0), .out = f.out[0], .report = o->plain ? -1 : f.report[0]};
    if (c->pidfd >= 0) fcntl(c->pidfd, F_SETFD, FD_CLOEXEC);
    fcntl(c->out, F_SETFL, O_NONBLOCK);
    if (c->report >= 0) fcntl(c->report, F_SETFL, O_NONBLOCK);
    return OK;
}

/* ---- afterwards -------------------------------------------------------------------------------------- */

bool child_ended(struct child *c, int *wait_status)
{
    if (!c->pid) return false;
    pid_t r = waitpid(c->pid, wait_status, WNOHANG);
    if (r == 0 || (r < 0 && errno == EINTR)) return false;
    if (r < 0) *wait_status = 0;
    c->pid = 0;
    return true;
}

void child_signal(const struct child *c, int number)
{
    if (c->pid) kill(c->pid, number);
}

void child_close(struct child *c)
{
    if (c->pidfd >= 0) close(c->pidfd);
    if (c->out >= 0) close(c->out);
    if (c->report >= 0) close(c->report);
    c->pidfd = c->out = c->report = -1;
}
