// clang-format off
/* Plays `corral worker` and `corral plan` for the tests of the pool. What it does stands in the model's path, or in
 * the file of that path: a list of words with commas.
 *
 *   ready=MS        ready after so long (default 0), with ten lines of progress before that
 *   crash           ends with status 7 instead of becoming ready
 *   refuse          reports that the file is no model
 *   die=MS, stop=MS kills itself, stops dead so long after it is ready
 *   stuck, sick     says that it made no step for 1000 s; that its last nine steps failed
 *   stubborn        ignores SIGTERM
 *   chatty          writes five MiB to stderr
 *   once=FILE       all of the above only the first time: FILE is made then
 *   lack=FILE       the first time it lacks memory
 *   mb=N            its plan says N MiB
 *   gpu             it has a plan for GPUs, too
 *   split           which says that layers may lie on several devices and on the CPU
 *   kv=N            N MiB of KV for a sequence of full length, and a ladder from 16 of them down to a quarter of one
 *   plan=MS         so long does its plan take
 *   unplanned, bad  it has no plan; looking at the file crashes
 */
// clang-format on
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "http/http.h"

static char script[1024];
static char **own_words; /* how it was started: it says so */
static bool tame;        /* what was to happen once has happened */

static const char *word(const char *name)
{
    size_t n = strlen(name);
    for (const char *p = script; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (!strncmp(p, name, n) && (p[n] == '=' || p[n] == ',' || !p[n]))
            return p[n] == '=' ? p + n + 1 : "";
    return NULL;
}

static long number(const char *name, long otherwise)
{
    const char *at = word(name);
    return at ? atol(at) : otherwise;
}

static bool does(const char *name)
{
    return !tame && word(name);
}

/* True the first time, of all processes. */
static bool first_time(const char *name)
{
    const char *at = word(name);
    if (!at) return false;
    char path[512];
    snprintf(path, sizeof path, "%.*s", (int)strcspn(at, ","), at);
    int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static void wait_ms(long ms)
{
    if (ms > 0) usleep((useconds_t)ms * 1000);
}

static void health(struct http_exchange *x, void *user)
{
    char text[256];
    snprintf(text, sizeof text,
             "{\"status\":\"healthy\",\"running\":1,\"queued\":2,\"failed_steps\":%d,\"last_step_age_s\":%s}",
             does("sick") ? 9 : 0, does("stuck") ? "1000" : "0.001");
    http_reply(x, 200, "application/json", text, strlen(text));
}

static struct http_server *server;
static void on_term(int number)
{
    http_server_quit(server);
}

static void on_alarm(int number)
{
    raise(word("stop") ? SIGSTOP : SIGKILL);
}

static int fail_load(FILE *report, const char *code, const char *why)
{
    fprintf(report, "{\"event\":\"error\",\"code\":\"%s\",\"message\":\"%s\"}\n", code, why);
    fprintf(stderr, "corral: %s\n", why);
    return 1;
}

static int work(const char *path)
{
    const char *fd = getenv("CORRAL_REPORT_FD");
    FILE *report = fd ? fdopen(atoi(fd), "w") : stderr;
    struct error e;
    if (!report) return 9;
    setvbuf(report, NULL, _IOLBF, 0);
    tame = word("once") && !first_time("once");
    fprintf(stderr, "fake worker of %s\n", script);
    for (char *const *word = own_words; *word; word++) fprintf(stderr, " %s", *word);
    const char *cards = getenv("CUDA_VISIBLE_DEVICES");
    fprintf(stderr, "\nCUDA_VISIBLE_DEVICES=%s\n", cards ? cards : "");
    for (int i = 0; i < 10; i++) {
        fprintf(report, "{\"event\":\"progress\",\"done\":%d,\"total\":10}\n", i);
        wait_ms(number("ready", 0) / 10);
    }
    for (int i = 0; does("chatty") && i < 5 << 14; i++) fprintf(stderr, "%063d\n", i);
    if (does("refuse")) return fail_load(report, "format error", "that is no model");
    if (first_time("lack")) return fail_load(report, "out of memory", "no memory on the device");
    if (does("crash")) {
        fputs("last words\n", stderr);
        return 7;
    }
    static const struct http_route route[] = {
        {"GET", "/health", health, NULL, HTTP_BODY_NONE, HTTP_ROLE_ANYONE}};
    const struct http_options o = {.unix_path = path};
    if (http_server_new(&server, &o, &e) != OK) return 8;
    http_server_add_routes(server, route, 1);
    if (http_server_listen(server, &e) != OK) return 8;
    signal(SIGTERM, does("stubborn") ? SIG_IGN : on_term);
    long mb = number("mb", 1);
    fprintf(report,
            "{\"event\":\"ready\",\"pid\":%d,\"backend\":\"fake\",\"context\":128,\"parallel\":2,\"plan\":{"
            "\"weight_bytes\":%ld,\"mapped_bytes\":0,\"scratch_bytes\":0,\"kv_block_bytes\":0,\"kv_blocks\":"
            "0}}\n",
            (int)getpid(), mb << 20);
    if (does("die") || does("stop")) {
        signal(SIGALRM, on_alarm);
        ualarm((useconds_t)MAX(number("die", number("stop", 1)), 1) * 1000, 0);
    }
    return http_server_run(server, &e) == OK ? 0 : 1;
}

/* Sixteen sequences, half of them each time; then less context. */
static void ladder(long block_bytes)
{
    static const int step[][2] = {{16, 128}, {8, 128}, {4, 128}, {2, 128},
                                  {1, 128},  {1, 96},  {1, 64},  {1, 32}};
    for (size_t i = 0; i < sizeof step / sizeof *step; i++)
        printf("%s{\"parallel\":16,\"kv_sequences\":%d,\"context\":%d,\"kv_type\":\"f16\",\"kv_block_bytes\":"
               "%ld,"
               "\"scratch_bytes\":0}",
               i ? "," : "],\"rungs\":[", step[i][0], step[i][1], block_bytes);
    puts("]}");
}

/* Four layers, with KV blocks of one byte if nothing else is said. */
static int plan(const char *backend)
{
    bool gpu = !strcmp(backend, "cuda");
    long kv = word("kv") ? (number("kv", 0) << 20) / 8 / 4
                         : 1; /* of a block and layer; a sequence has eight blocks */
    wait_ms(number("plan", 0));
    if (word("bad")) raise(SIGKILL);
    if (word("unplanned") || (gpu && !word("gpu"))) {
        puts("{\"error\":{\"code\":\"format error\",\"message\":\"no plan for that\"}}");
        return 1;
    }
    printf(
        "{\"backend\":\"%s\",\"kind\":\"%s\",\"max_devices\":%d,\"partial_cpu\":%s,\"context_trained\":128,"
        "\"kv_block_tokens\":16,\"first_bytes\":0,\"last_bytes\":0,\"overhead_bytes\":0,\"layers\":[",
        backend, gpu ? "gpu" : "host", word("split") ? 4 : 1, word("split") ? "true" : "false");
    for (int i = 0; i < 4; i++)
        printf("%s{\"weight_bytes\":%ld,\"kv_block_bytes\":%ld}", i ? "," : "", number("mb", 1) << 18, kv);
    if (word("kv")) {
        ladder(4 * kv);
        return 0;
    }
    puts("],\"rungs\":[{\"parallel\":2,\"context\":128,\"kv_type\":\"f16\",\"kv_block_bytes\":4,\"scratch_"
         "bytes\":0}]}");
    return 0;
}

static void read_script(const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f || !fgets(script, sizeof script, f)) snprintf(script, sizeof script, "%s", path);
    if (f) fclose(f);
}

int main(int argc, char **argv)
{
    const char *socket = "", *backend = "cpu";
    if (argc < 3) return 2;
    own_words = argv;
    read_script(argv[argc - 1]);
    for (int i = 2; i + 1 < argc; i++) {
        if (!strcmp(argv[i], "--socket")) socket = argv[i + 1];
        if (!strcmp(argv[i], "--backend")) backend = argv[i + 1];
    }
    return strcmp(argv[1], "plan") == 0 ? plan(backend) : work(socket);
}
