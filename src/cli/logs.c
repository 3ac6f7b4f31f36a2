/* corral logs: what a model's workers wrote. */
#include <signal.h>

#include "cli/remote.h"

static struct remote_options o;
static struct {
    int64_t lines;
    bool follow;
} own;
static const struct opt opts[] = {{.name = "lines",
                                   .letter = 'n',
                                   .type = OPT_INT,
                                   .at = &own.lines,
                                   .min = 1,
                                   .max = 1000000,
                                   .def = "200",
                                   .help = "how many, the last ones"},
                                  {.name = "follow",
                                   .letter = 'f',
                                   .type = OPT_BOOL,
                                   .at = &own.follow,
                                   .help = "go on with what comes, until Ctrl-C"},
                                  REMOTE_OPTS(o),
                                  {0}};

static volatile sig_atomic_t interrupted;
static void on_signal(int number)
{
    interrupted = 1;
}

static void piece(void *user, const char *p, size_t n)
{
    fwrite(p, 1, n, stdout);
    fflush(stdout);
}
static bool go_on(void *user)
{
    return !interrupted && !ferror(stdout);
}

static status logs(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    struct sigaction act = {.sa_handler = on_signal};
    char query[64];
    snprintf(query, sizeof query, "?lines=%lld%s", (long long)own.lines, own.follow ? "&follow=1" : "");
    sigaction(SIGINT, &act, NULL);
    return remote_follow(r, "GET", remote_path("/logs/", word[0], query), NULL,
                         &(struct remote_reader){piece, go_on, NULL}, e);
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_logs, &o, 1, 1, logs}, argc, argv);
}

const struct command cmd_logs = {
    .name = "logs",
    .args = "NAME [-n LINES] [-f]",
    .summary = "what the workers of a model wrote, and why one ended",
    .help = "Examples:\n"
            "  corral logs qwen3\n"
            "  corral logs qwen3 -n 20 -f      the last 20 lines, and what comes\n\n"
            "The files themselves are in $CORRAL_HOME/logs.\n",
    .opts = opts,
    .run = run,
};
