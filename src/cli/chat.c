/* The conversation at the terminal: line editing and history by libedit, commands that begin with a slash. */
#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <limits.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/buf.h"
#include "cli/answer.h"
#include "cli/run.h"

enum { HISTORY_LINES = 1000, MAX_INPUT_BYTES = 16 << 20, ROOM_FOR_ANSWER = 64 };

struct chat {
    struct session *s;
    struct run_options *o;
    const struct opt *settings;
    bool is_chat, done;
    EditLine *el;
    History *history;
    char history_path[4096 + 16];
    struct run_chat answer;
    json_t *message; /* a list of {"role", "content"}, with "reasoning_content" where there was some */
    char **kept;     /* text that settings point to */
    size_t n_kept;
};

static bool continuing; /* which prompt libedit shows */

static char *show_prompt(EditLine *el)
{
    static char first[] = "> ", next[] = "... ";
    return continuing ? next : first;
}

static pthread_t terminal_thread;
static sigset_t open_to_sigint; /* the terminal thread's signals but while a line is read */

/* The system may choose any thread; only in the one that reads the terminal does it end the reading. */
static void on_sigint(int signal_number)
{
    if (pthread_equal(pthread_self(), terminal_thread))
        answer_interrupt();
    else
        pthread_kill(terminal_thread, signal_number);
}

/* A key, for libedit. Ctrl-C comes in here alone: between two keys it would be missed, and in the middle of
 * drawing the line it would make a write fail. */
static int read_key(EditLine *el, wchar_t *out)
{
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    mbstate_t state = {0};
    for (int n = 0; n < MB_LEN_MAX; n++) {
        char byte;
        if (ppoll(&in, 1, NULL, &open_to_sigint) < 0) return -1;
        const ssize_t got = read(STDIN_FILENO, &byte, 1);
        if (got <= 0) return (int)got;
        const size_t k = mbrtowc(out, &byte, 1, &state);
        if (k == (size_t)-1) break;
        if (k != (size_t)-2) return 1;
    }
    *out = 0xFFFD; /* no character of this encoding */
    return 1;
}

static char *keep(struct chat *c, const char *text)
{
    c->kept = mem_realloc(c->kept, c->n_kept + 1, sizeof *c->kept);
    return c->kept[c->n_kept++] = mem_strdup(text);
}

static size_t n_messages(const struct chat *c)
{
    return json_array_size(c->message);
}

static const char *role_at(const struct chat *c, size_t i)
{
    return json_string_value(json_object_get(json_array_get(c->message, i), "role"));
}

static void drop_messages(struct chat *c, size_t at, size_t n)
{
    while (n--) json_array_remove(c->message, at);
}

static bool has_system(const struct chat *c)
{
    return n_messages(c) && !strcmp(role_at(c, 0), "system");
}

static const char *system_text(const struct chat *c)
{
    return json_string_value(json_object_get(json_array_get(c->message, 0), "content"));
}

static void set_system(struct chat *c, const char *text)
{
    if (has_system(c)) drop_messages(c, 0, 1);
    if (!text || !*text) return;
    if (json_array_insert_new(c->message, 0, run_message("system", text, strlen(text))) != 0)
        fputs("That is not UTF-8 text.\n", stderr);
}

static void show(const char *text, size_t n, bool reasoning)
{
    static bool dim; /* what the terminal shows at the moment */
    if (dim != reasoning && isatty(STDOUT_FILENO)) fputs(reasoning ? "\033[2m" : "\033[0m\n\n", stdout);
    dim = reasoning && n;
    fwrite(text, 1, n, stdout);
    fflush(stdout);
}

static void to_terminal(void *user, const char *text, size_t n)
{
    show(text, n, false);
}

/* What was said, for the next turn; thoughts too, for templates that want them. */
static void remember_answer(struct chat *c)
{
    const struct buf *text = &c->answer.content, *thoughts = &c->answer.reasoning;
    if (!text->n && !thoughts->n) return;
    json_t *m = run_message("assistant", text->n ? text->data : "", text->n);
    if (thoughts->n) json_object_set_new(m, "reasoning_content", json_stringn(thoughts->data, thoughts->n));
    json_array_append_new(c->message, m);
}

/* The conversation as tokens; its oldest turns are forgotten when it has outgrown the context. */
static status conversation_ids(struct chat *c, uint32_t max_context, struct tok_ids *ids, struct error *e)
{
    for (;;) {
        ids->n = 0;
        run_chat_reset(&c->answer);
        TRY(run_chat_begin(&c->answer, c->s, c->message, ids, e));
        size_t first = has_system(c), n_turn = n_messages(c) - first;
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
        r = c->is_chat ? run_chat_answer(&c->answer, c->s, &g, &e) : answer_generate(c->s, &g, &e);
        if (c->is_chat) show("", 0, false); /* out of the thoughts, if the answer ended there */
    }
    if (r != OK) {
        fprintf(stderr, "corral: %s\n", e.msg);
    } else {
        puts(g.finish == FINISH_CANCELLED ? " [stopped]" : "");
        if (c->o->stats) run_print_stats(&g.timing, g.finish);
    }
    if (c->is_chat) remember_answer(c);
    buf_deinit(&g.text);
    tok_ids_deinit(&ids);
    sampling_deinit(&sampling);
}

static void say_help(struct chat *c, char *arg);

static void say_exit(struct chat *c, char *arg)
{
    c->done = true;
}

static void say_clear(struct chat *c, char *arg)
{
    size_t first = has_system(c);
    drop_messages(c, first, n_messages(c) - first);
    fputs("[a new conversation]\n", stderr);
}

static void say_system(struct chat *c, char *arg)
{
    if (!c->is_chat)
        fputs("This model continues text; it has no system message.\n", stderr);
    else if (*arg || !has_system(c))
        set_system(c, arg);
    else
        printf("%s\n", system_text(c));
}

static void say_set(struct chat *c, char *arg)
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

static void say_show(struct chat *c, char *arg)
{
    opt_show(c->settings, stdout);
    if (has_system(c)) printf("  system                 %s\n", system_text(c));
}

static void say_regen(struct chat *c, char *arg)
{
    size_t n = n_messages(c);
    if (n && !strcmp(role_at(c, n - 1), "assistant")) drop_messages(c, --n, 1);
    if (!n || strcmp(role_at(c, n - 1), "user") != 0)
        fputs("There is no answer to give again.\n", stderr);
    else
        reply(c, NULL, 0);
}

/* One JSON object per message and line. */
static void say_save(struct chat *c, char *arg)
{
    struct buf out = {0};
    for (size_t i = 0; i < n_messages(c); i++) {
        char *line = json_dumps(json_array_get(c->message, i), 0);
        buf_adds(&out, line);
        buf_addc(&out, '\n');
        free(line);
    }
    FILE *f = *arg ? fopen(arg, "w") : NULL;
    if (!*arg)
        fputs("Usage: /save FILE\n", stderr);
    else if (!f || (out.n && fwrite(out.data, 1, out.n, f) != out.n))
        fprintf(stderr, "corral: %s: %s\n", arg, strerror(errno));
    else
        fprintf(stderr, "[%zu messages saved to %s]\n", n_messages(c), arg);
    if (f && fclose(f) != 0) fprintf(stderr, "corral: %s: %s\n", arg, strerror(errno));
    buf_deinit(&out);
}

static void say_stats(struct chat *c, char *arg)
{
    c->o->stats = !c->o->stats;
    fprintf(stderr, "[speed after each answer: %s]\n", c->o->stats ? "on" : "off");
}

static const struct slash {
    const char *name, *arg, *help;
    void (*run)(struct chat *c, char *arg);
} slash[] = {
    {"help", "", "this list", say_help},
    {"exit", "", "leave (so does Ctrl-D)", say_exit},
    {"clear", "", "begin a new conversation", say_clear},
    {"system", "TEXT", "set the system message; without a text show it", say_system},
    {"set", "NAME VALUE", "change a setting, e.g. /set temp 0.2", say_set},
    {"show", "", "all settings", say_show},
    {"regen", "", "answer the last message again", say_regen},
    {"save", "FILE", "write the conversation, one JSON object per message", say_save},
    {"stats", "", "show the speed after each answer, or stop that", say_stats},
};

static const char *slash_name(const void *ctx, size_t i)
{
    return i < COUNT_OF(slash) ? ((const struct slash *)ctx)[i].name : NULL;
}

static void say_help(struct chat *c, char *arg)
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
    sigset_t sigint;
    sigemptyset(&sigint);
    sigaddset(&sigint, SIGINT);
    pthread_sigmask(SIG_BLOCK, &sigint, &open_to_sigint);
    errno = 0;
    const char *line = el_gets(c->el, &n);
    const int why = errno;
    pthread_sigmask(SIG_SETMASK, &open_to_sigint, NULL);
    if (!line || n <= 0) {
        if (!(n < 0 && why == EINTR)) return INPUT_END;
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
    el_set(c->el, EL_GETCFN, read_key);
    el_set(c->el, EL_EDITOR, "emacs");
    el_set(c->el, EL_HIST, history, c->history);
    el_set(c->el, EL_BIND, "^R", "em-inc-search-prev", NULL);
    el_source(c->el, NULL);
}

static void close_chat(struct chat *c)
{
    json_decref(c->message);
    run_chat_deinit(&c->answer);
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
    if (c->is_chat && json_array_append_new(c->message, run_message("user", line, n)) != 0)
        fputs("That is not UTF-8 text.\n", stderr);
    else
        reply(c, line, n);
}

status run_interactive(struct session *s, struct run_options *o, const struct opt *settings, bool chat,
                       struct error *e)
{
    struct chat c = {.s = s, .o = o, .settings = settings, .is_chat = chat, .answer = {.show = show}};
    if (chat) TRY(chat_format_of_model(&c.answer.format, s->tok, s->gguf, e));
    c.message = json_array();
    struct buf text;
    buf_init(&text, MAX_INPUT_BYTES);
    open_terminal(&c);
    terminal_thread = pthread_self();
    struct sigaction act = {.sa_handler = on_sigint, .sa_flags = SA_RESTART}, before; /* no write is cut */
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
