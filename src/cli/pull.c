/* corral pull: bring a model here. */
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/human.h"
#include "cli/model_file.h"
#include "cli/remote.h"

static struct remote_options o;
static struct {
    const char *name;
    bool copy, quiet;
} own;
static const struct opt opts[] = {
    {.name = "as",
     .type = OPT_STR,
     .at = &own.name,
     .arg = "NAME",
     .help = "what it is called here; default: as the reference says"},
    {.name = "copy",
     .type = OPT_BOOL,
     .at = &own.copy,
     .help = "copy files of this machine into the store (default: they are used where they lie)"},
    {.name = "quiet", .letter = 'q', .type = OPT_BOOL, .at = &own.quiet, .help = "no progress"},
    REMOTE_OPTS(o),
    {0}};

static volatile sig_atomic_t interrupted;
static void on_signal(int number)
{
    interrupted = 1;
}

struct progress {
    struct buf line;
    json_t *last; /* what was said last */
    int64_t printed_us;
    bool terminal;
    int width; /* of what is on the terminal's line */
    char phase[32];
};

/* ---- on the terminal --------------------------------------------------------------------------------- */

static int columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col ? w.ws_col : 80;
}

static void draw(struct progress *p, const char *text)
{
    int n = (int)strlen(text), most = columns() - 1, shown = MIN(n, most);
    fprintf(stderr, "\r%.*s%*s", shown, text, MAX(p->width - shown, 0), "");
    fflush(stderr);
    p->width = shown;
}

/* "qwen3  42 % [########------------]  1.2 GiB of 2.9 GiB  85 MiB/s  20 s left" */
static void describe(struct buf *b, const json_t *v, int bar)
{
    double done = json_num(v, "downloaded_bytes"), total = json_num(v, "total_bytes"),
           rate = json_num(v, "bytes_per_s");
    const json_t *eta = json_object_get(v, "eta_s");
    if (total > 0) {
        buf_addf(b, "%3.0f %% ", floor(100 * MIN(done / total, 1.0)));
        for (int i = 0; i < bar; i++)
            buf_addc(b, i == 0 ? '[' : i + 1 == bar ? ']' : i < bar * done / total ? '#' : '-');
        buf_addf(b, "  %s of %s", human_bytes((uint64_t)done).s, human_bytes((uint64_t)total).s);
    } else {
        buf_addf(b, "%s", human_bytes((uint64_t)done).s);
    }
    if (rate > 0) buf_addf(b, "  %s/s", human_bytes((uint64_t)rate).s);
    if (json_is_number(eta) && json_number_value(eta) >= 0)
        buf_addf(b, "  %s left", human_seconds(json_number_value(eta)).s);
}

static void show(struct progress *p)
{
    const char *phase = json_text(p->last, "phase");
    int64_t now = clock_us();
    bool changed = strcmp(phase, p->phase) != 0, moves = !strcmp(phase, "downloading");
    struct buf b = {0};
    if (own.quiet || o.json || (!changed && now - p->printed_us < (p->terminal ? 100000 : 5000000))) return;
    snprintf(p->phase, sizeof p->phase, "%s", phase);
    p->printed_us = now;
    if (moves) {
        buf_addf(&b, "%s  ", json_text(p->last, "name"));
        describe(&b, p->last, p->terminal ? MIN(MAX(columns() - 75, 0), 32) : 0);
    } else {
        buf_addf(&b, "%s  %s", json_text(p->last, "name"), phase);
    }
    if (p->terminal)
        draw(p, b.data);
    else
        fprintf(stderr, "%s\n", b.data);
    buf_deinit(&b);
}

/* ---- what the server says ---------------------------------------------------------------------------- */

static void piece(void *user, const char *text, size_t n)
{
    struct progress *p = user;
    for (size_t i = 0; i < n; i++) {
        if (text[i] != '\n') {
            buf_addc(&p->line, text[i]);
            continue;
        }
        json_t *v = json_loadb(p->line.data ? p->line.data : "", p->line.n, 0, NULL);
        buf_reset(&p->line);
        if (!json_is_object(v)) {
            json_decref(v);
            continue;
        }
        json_decref(p->last);
        p->last = v;
        show(p);
    }
}

static bool go_on(void *user)
{
    return !interrupted;
}

/* A path means the same file to a server in another folder; what is no file here is a name or a reference. */
static char *reference_of(const char *word)
{
    char *whole = strstr(word, "://") || access(word, F_OK) != 0 ? NULL : realpath(word, NULL);
    char *out = mem_strdup(whole ? whole : word);
    free(whole);
    return out;
}

static status stopped(struct remote *r, const json_t *last, struct error *e)
{
    long long id = (long long)json_num(last, "id");
    if (remote_is_own(r))
        return fail(e, ERR_CANCELLED,
                    "stopped; the same command, or a server, goes on where it was "
                    "(corral jobs cancel %lld: never)",
                    id);
    return fail(e, ERR_CANCELLED,
                "not waiting any longer; the server goes on with job %lld (corral jobs %lld shows it, corral "
                "jobs cancel %lld ends it)",
                id, id, id);
}

static bool is_safetensors(const json_t *job)
{
    const json_t *f;
    size_t i;
    json_array_foreach(json_object_get(job, "files"), i, f)
    {
        const char *dot = strrchr(json_text(f, "name"), '.');
        if (dot && !strcmp(dot, ".safetensors")) return true;
    }
    return false;
}

static void print_end(const json_t *job)
{
    const char *name = json_text(job, "name");
    printf("%s is here (%s)", name, human_bytes((uint64_t)json_num(job, "total_bytes")).s);
    if (is_safetensors(job))
        puts(". It is in safetensors format, which corral cannot run yet: pull a GGUF of it");
    else
        printf("; corral serve %s\n", name);
}

static status pull(struct remote *r, const char *const *word, size_t n_word, struct error *e)
{
    struct progress p = {.terminal = isatty(STDERR_FILENO)};
    const struct remote_reader reader = {piece, go_on, &p};
    char *reference = reference_of(word[0]);
    json_t *body = json_pack("{s:s, s:b, s:b}", "model", reference, "copy", own.copy, "stream", 1);
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    if (own.name) json_object_set_new(body, "as", json_string(own.name));
    sigaction(SIGINT, &act, NULL);
    sigaction(SIGTERM, &act, NULL);
    status s = remote_follow(r, "POST", "/pull", json_incref(body), &reader, e);
    while (s != OK && !interrupted && remote_again(r))
        s = remote_follow(r, "POST", "/pull", json_incref(body), &reader, e);
    json_decref(body);
    if (p.width) fputs("\n", stderr);
    if (s == OK && interrupted) s = stopped(r, p.last, e);
    const char *how = json_text(p.last, "status");
    if (s == OK && strcmp(how, "completed") != 0) {
        const char *why = json_text(p.last, "error");
        bool named = !strncmp(why, word[0], strlen(word[0]));
        s = fail(e, !strcmp(how, "cancelled") ? ERR_CANCELLED : ERR_IO, "%s%s%s", named ? "" : word[0],
                 named ? "" : ": ",
                 *why   ? why
                 : *how ? how
                        : "the server said nothing of it");
    }
    if (o.json && p.last)
        json_print(json_incref(p.last));
    else if (s == OK && !own.quiet)
        print_end(p.last);
    json_decref(p.last);
    buf_deinit(&p.line);
    free(reference);
    return s;
}

static int run(int argc, char **argv)
{
    return remote_main(&(struct remote_command){&cmd_pull, &o, 1, 1, pull}, argc, argv);
}

const struct command cmd_pull = {
    .name = "pull",
    .args = "REFERENCE [--as NAME]",
    .summary = "bring a model here: from a hub, a registry, S3, the web or a file",
    .help =
        "Examples:\n"
        "  corral pull hf:Qwen/Qwen3-8B-GGUF:Q4_K_M      the Hugging Face hub; HF_TOKEN for what is not "
        "public\n"
        "  corral pull llama3.2                          an Ollama registry\n"
        "  corral pull https://example.org/m.gguf        any file on the web\n"
        "  corral pull s3://bucket/models/m.gguf         S3 and what speaks like it; AWS_ACCESS_KEY_ID, ...\n"
        "  corral pull ./m.gguf --as mine                a file that is here, used in place (--copy: "
        "copied)\n\n"
        "Downloads go on where they stopped, by themselves and after Ctrl-C, and are checked against their "
        "digests. The\n"
        "same reference again brings what is new. docs/pulling.md has all references, docs/gateway.md the "
        "calls.\n",
    .opts = opts,
    .run = run,
};
