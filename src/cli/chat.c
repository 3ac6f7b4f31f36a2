/* The conversation at the terminal: line editing and history by libedit, commands that begin with a slash. */
#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "cli/answer.h"
#include "cli/run.h"
#include "text/chatml.h"

enum { HISTORY_LINES = 1000, MAX_INPUT_BYTES = 16 << 20, ROOM_FOR_ANSWER = 64 };

struct chat {
    struct session *s;
    struct run_options *o;
    const struct opt *settings;
    bool is_chat, done;
    EditLine *el;
    History *history;
    char history_path[4096 + 16];
    struct chat_message *message; /* role is static text, text is ours */
    size_t n_message;
    char **kept; /* text that settings point to */
    size_t n_kept;
};

static bool continuing; /* which prompt libedit shows */

static char *show_prompt(EditLine *el)
{
    static char first[] = "> ", next[] = "... ";
    return continuing ? next : first;
}

static pthread_t terminal_thread;

/* The system may choose any thread; only in the one that reads the terminal does it end the reading. */
static void on_sigint(int signal_number)
{
    if (pthread_equal(pthread_self(), terminal_thread))
        answer_interrupt();
    else
        pthread_kill(terminal_thread, signal_number);
}

static char *keep(struct chat *c, const char *text)
{
    c->kept = mem_realloc(c->kept, c->n_kept + 1, sizeof *c->kept);
    return c->kept[c->n_kept++] = mem_strdup(text);
}

static void add_message(struct chat *c, const char *role, const char *text, size_t n)
{
    c->message = mem_realloc(c->message, c->n_message + 1, sizeof *c->message);
    c->message[c->n_message++] = (struct chat_message){role, mem_strndup(text, n), strlen(role), n};
}

static void drop_messages(struct chat *c, size_t at, size_t n)
{
    for (size_t i = at; i < at + n; i++) free((char *)(uintptr_t)c->message[i].content);
    memmove(c->message + at, c->message + at + n, (c->n_message - at - n) * sizeof *c->message);
    c->n_message -= n;
}

static bool has_system(const struct chat *c)
{
    return c->n_message && !strcmp(c->message[0].role, "system");
}

static void set_system(struct chat *c, const char *text)
{
    if (has_system(c)) drop_messages(c, 0, 1);
    if (!text || !*text) return;
    add_message(c, "system", text, strlen(text));
    struct chat_message m = c->message[c->n_message - 1];
    memmove(c->message + 1, c->message, (c->n_message - 1) * sizeof *c->message);
    c->message[0] = m;
}

static void to_terminal(void *user, const char *text, size_t n)
{
    fwrite(text, 1, n, stdout);
    fflush(stdout);
}

/* The conversation as tokens; its oldest turns are forgotten when it has outgrown the context. */
static status conversation_ids(struct chat *c, uint32_t max_context, struct tok_ids *ids, struct error *e)
{
    for (;;) {
        ids->n = 0;
        TRY(chatml_encode(c->s->tok, c->message, c->n_message, true, ids, e));
        size_t first = has_system(c), n_turn = c->n_message - first;
        if (ids->n + ROOM_FOR_ANSWER <= max_context || n_turn < 3) return OK;
        fputs("[the oldest turn was forgotten: the context is full]\n", stderr);
        drop_messages(c, first, 2);
    }
}

/* Answer the conversation as it stands, or continue text when the model does not chat. */
static void reply(struct chat *c, const char *text, size_t n)
{
    struct error e = {0};
    struct sampling sampling = {0};
    struct tok_ids ids = {0};
    struct answer g = {0};
    struct engine_stats engine;
    engine_stats(c->s->engine, &engine);
    status r = sampling_init(&sampling, &c->o->sampling, c->s, &e);
    if (r == OK)
        r = c->is_chat ? conversation_ids(c, engine.max_context, &ids, &e)
                       : session_encode(c->s, text, n, &ids, &e);
    if (r == OK) {
        g = (struct answer){
            .prompt = ids.id,
            .n_prompt = (uint32_t)ids.n,
            .max_tokens = (uint32_t)c->o->max_tokens,
            .params = &sampling.params,
            .stop = c->o->stop.item,
            .n_stop = c->o->stop.n,
            .special = c->o->special,
            .on_text = to_terminal,
        };
        r = answer_generate(c->s, &g, &e);
    }
    if (r != OK) {
        fprintf(stderr, "corral: %s\n", e.msg);
    } else {
        puts(g.finish == FINISH_CANCELLED ? " [stopped]" : "");
        if (c->o->stats) run_print_stats(&g.timing, g.finish);
    }
    if (c->is_chat && g.text.n) add_message(c, "assistant", g.text.data, g.text.n);
    buf_deinit(&g.text);
    tok_ids_deinit(&ids);
    sampling_deinit(&sampling);
}

static void cmd_help(struct chat *c, char *arg);

static void cmd_exit(struct chat *c, char *arg)
{
    c->done = true;
}

static void cmd_clear(struct chat *c, char *arg)
{
    size_t first = has_system(c);
    drop_messages(c, first, c->n_message - first);
    fputs("[a new conversation]\n", stderr);
}

static void cmd_system(struct chat *c, char *arg)
{
    if (!c->is_chat)
        fputs("This model continues text; it has no system message.\n", stderr);
    else if (*arg || !has_system(c))
        set_system(c, arg);
    else
        printf("%s\n", c->message[0].content);
}

static void cmd_set(struct chat *c, char *arg)
{
    struct error e;
    char *value = arg + strcspn(arg, " =");
    if (*value) *value++ = 0;
    value += strspn(value, " =");
    if (!*arg || !*value)
        fputs("Usage: /set NAME VALUE, e.g. /set temp 0.2; /show lists the names\n", stderr);
    else if (opt_set(c->settings, arg, keep(c, value), &e) != OK)
        fprintf(stderr, "corral: %s\n", e.msg);
}

static void cmd_show(struct chat *c, char *arg)
{
    opt_show(c->settings, stdout);
    if (has_system(c)) printf("  system                 %s\n", c->message[0].content);
}

static void cmd_regen(struct chat *c, char *arg)
{
    size_t n = c->n_message;
    if (n && !strcmp(c->message[n - 1].role, "assistant")) drop_messages(c, n - 1, 1);
    n = c->n_message;
    if (!n || strcmp(c->message[n - 1].role, "user") != 0)
        fputs("There is no answer to give again.\n", stderr);
    else
        reply(c, NULL, 0);
}

/* One JSON object per message and line. */
static void cmd_save(struct chat *c, char *arg)
{
    struct buf out = {0};
    for (size_t i = 0; i < c->n_message; i++) {
        buf_addf(&out, "{\"role\": \"%s\", \"content\": ", c->message[i].role);
        buf_json_str(&out, c->message[i].content, c->message[i].n_content);
        buf_adds(&out, "}\n");
    }
    FILE *f = *arg ? fopen(arg, "w") : NULL;
    if (!*arg)
        fputs("Usage: /save FILE\n", stderr);
    else if (!f || (out.n && fwrite(out.data, 1, out.n, f) != out.n))
        fprintf(stderr, "corral: %s: %s\n", arg, strerror(errno));
    else
        fprintf(stderr, "[%zu messages saved to %s]\n", c->n_message, arg);
    if (f && fclose(f) != 0) fprintf(stderr, "corral: %s: %s\n", arg, strerror(errno));
    buf_deinit(&out);
}

static void cmd_stats(struct chat *c, char *arg)
{
    c->o->stats = !c->o->stats;
    fprintf(stderr, "[speed after each answer: %s]\n", c->o->stats ? "on" : "off");
}

static const struct slash {
    const char *name, *arg, *help;
    void (*run)(struct chat *c, char *arg);
} slash[] = {
    {"help", "", "this list", cmd_help},
    {"exit", "", "leave (so does Ctrl-D)", cmd_exit},
    {"clear", "", "begin a new conversation", cmd_clear},
    {"system", "TEXT", "set the system message; without a text show it", cmd_system},
    {"set", "NAME VALUE", "change a setting, e.g. /set temp 0.2", cmd_set},
    {"show", "", "all settings", cmd_show},
    {"regen", "", "answer the last message again", cmd_regen},
    {"save", "FILE", "write the conversation, one JSON object per message", cmd_save},
    {"stats", "", "show the speed after each answer, or stop that", cmd_stats},
};

static const char *slash_name(const void *ctx, size_t i)
{
    return i < COUNT_OF(slash) ? ((const struct slash *)ctx)[i].name : NULL;
}

static void cmd_help(struct chat *c, char *arg)
{
    for (size_t i = 0; i < COUNT_OF(slash); i++)
        printf("  /%-7s%-12s%s\n", slash[i].name, slash[i].arg, slash[i].help);
    fputs("A line that ends in a backslash goes on in the next one; so does everything between two lines\n"
          "with \"\"\". Ctrl-C stops an answer. A message that begins with a slash is written with two.\n",
          stdout);
}

static void run_slash(struct chat *c, char *line)
{
    size_t n = strcspn(line + 1, " ");
    char *name = line + 1, *arg = name + n + strspn(name + n, " ");
    name[n] = 0;
    for (size_t i = 0; i < COUNT_OF(slash); i++) {
        if (strcmp(slash[i].name, name) != 0) continue;
        slash[i].run(c, arg);
        return;
    }
    const char *near = opt_nearest(name, slash_name, slash);
    if (near)
        fprintf(stderr, "There is no /%s; did you mean /%s?\n", name, near);
    else
        fprintf(stderr, "There is no /%s; /help lists what there is.\n", name);
}

enum input { INPUT_TEXT, INPUT_INTERRUPTED, INPUT_END };

/* One line without its newline, appended to out. */
static enum input read_line(struct chat *c, struct buf *out)
{
    int n = 0;
    errno = 0;
    const char *line = el_gets(c->el, &n);
    if (!line || n <= 0) {
        if (!(n < 0 && errno == EINTR)) return INPUT_END;
        el_reset(c->el);
        putchar('\n');
        return INPUT_INTERRUPTED;
    }
    buf_adds(out, line);
    if (out->n && out->data[out->n - 1] == '\n') out->data[--out->n] = 0;
    return INPUT_TEXT;
}

static bool ends_with(const struct buf *b, const char *tail)
{
    size_t n = strlen(tail);
    return b->n >= n && !memcmp(b->data + b->n - n, tail, n);
}

/* A message: one line, lines joined by trailing backslashes, or what stands between """ and """. */
static enum input read_message(struct chat *c, struct buf *out)
{
    static const char fence[] = "\"\"\"";
    buf_reset(out);
    continuing = false;
    answer_forget_interrupt();
    enum input in = read_line(c, out);
    if (in != INPUT_TEXT) return in;
    bool block = out->n >= 3 && !memcmp(out->data, fence, 3);
    if (block) buf_drop(out, 3);
    while (block ? !ends_with(out, fence) : ends_with(out, "\\")) {
        if (block)
            buf_addc(out, '\n');
        else
            out->data[out->n - 1] = '\n';
        continuing = true;
        in = read_line(c, out);
        if (in != INPUT_TEXT) return in;
    }
    if (block) out->data[out->n -= 3] = 0;
    return INPUT_TEXT;
}

static void remember_line(struct chat *c, const char *text)
{
    HistEvent event;
    history(c->history, &event, H_ENTER, text);
    if (c->history_path[0]) history(c->history, &event, H_SAVE, c->history_path);
}

/* $CORRAL_HOME/history; conversations work without it. */
static void open_history(struct chat *c)
{
    HistEvent event;
    char home[4096];
    c->history = history_init();
    history(c->history, &event, H_SETSIZE, HISTORY_LINES);
    history(c->history, &event, H_SETUNIQUE, 1);
    if (cli_home(home, NULL) != OK) return;
    for (char *p = home + 1; *p; p++) { /* mkdir -p */
        if (*p != '/') continue;
        *p = 0;
        (void)mkdir(home, 0755);
        *p = '/';
    }
    (void)mkdir(home, 0700);
    snprintf(c->history_path, sizeof c->history_path, "%s/history", home);
    history(c->history, &event, H_LOAD, c->history_path);
}

static void open_terminal(struct chat *c)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0) setlocale(LC_CTYPE, "C.UTF-8"); /* what models write */
    open_history(c);
    c->el = el_init("corral", stdin, stdout, stderr);
    el_set(c->el, EL_PROMPT, show_prompt);
    el_set(c->el, EL_EDITOR, "emacs");
    el_set(c->el, EL_HIST, history, c->history);
    el_set(c->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(c->el, NULL);
}

static void close_chat(struct chat *c)
{
    drop_messages(c, 0, c->n_message);
    free(c->message);
    for (size_t i = 0; i < c->n_kept; i++) free(c->kept[i]);
    free(c->kept);
    el_end(c->el);
    history_end(c->history);
}

static void take_message(struct chat *c, struct buf *text)
{
    char *line = text->data;
    size_t n = text->n;
    if (n != strlen(line)) return; /* a NUL cannot be typed */
    remember_line(c, line);
    if (line[0] == '/' && line[1] != '/') {
        run_slash(c, line);
        return;
    }
    if (line[0] == '/') line++, n--;
    if (c->is_chat) add_message(c, "user", line, n);
    reply(c, line, n);
}

status run_interactive(struct session *s, struct run_options *o, const struct opt *settings, bool chat,
                       struct error *e)
{
    struct chat c = {.s = s, .o = o, .settings = settings, .is_chat = chat};
    struct buf text;
    buf_init(&text, MAX_INPUT_BYTES);
    open_terminal(&c);
    terminal_thread = pthread_self();
    struct sigaction act = {.sa_handler = on_sigint}, before; /* no SA_RESTART: Ctrl-C also ends a line */
    sigaction(SIGINT, &act, &before);
    if (chat) set_system(&c, o->system);
    fprintf(stderr, "%s. %s; /help for more, Ctrl-D to leave.\n", s->name,
            chat ? "Write a message" : "This model continues what you write");
    while (!c.done) {
        enum input in = read_message(&c, &text);
        if (in == INPUT_END) break;
        if (text.failed) fputs("That was too long.\n", stderr);
        if (in == INPUT_TEXT && text.n && !text.failed) take_message(&c, &text);
    }
    if (!c.done) putchar('\n');
    sigaction(SIGINT, &before, NULL);
    close_chat(&c);
    buf_deinit(&text);
    return OK;
}
