#include "cli/remote.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "api/family.h"
#include "base/clock.h"
#include "base/log.h"
#include "cli/model_file.h"
#include "cli/parts.h"
#include "http/client.h"

enum { WAIT_MS = 10000, DRAIN_MS = 2000, LOOK_MS = 100, MAX_WORDS = 256 };

struct remote {
    struct http_client *client;
    char url[1024], socket[MODEL_PATH_MAX]; /* socket "": the URL's host */
    char auth[600];                         /* "": none */
    bool own, found, cut;                   /* found: by the home, not named; cut: the last answer was */
    enum log_level level;                   /* before this was its own server */
    struct parts parts;
    struct http_server *server;
    pthread_t thread;
    bool serving;
};

/* ---- a server of our own ----------------------------------------------------------------------------- */

static void *serve_main(void *arg)
{
    struct error e;
    struct remote *r = arg;
    (void)!http_server_run(r->server, &e);
    return NULL;
}

static status serve_own(struct remote *r, struct error *e)
{
    const struct pool_options po = {0};
    const struct http_options ho = {.unix_path = r->socket, .render_error = api_render_error};
    const struct http_route *routes;
    r->level = log_set_level(LOG_ERROR); /* what the command is about is said by the command */
    r->parts.idle = true;                /* corral list is not to begin a download */
    r->own = true;
    TRY(parts_open(&r->parts, NULL, &po, 0, e));
    TRY(http_server_new(&r->server, &ho, e));
    gateway_trust(r->parts.gateway, r->server); /* its socket is ours alone */
    size_t n = gateway_routes(r->parts.gateway, &routes);
    http_server_add_routes(r->server, routes, n);
    TRY(http_server_listen(r->server, e));
    r->serving = pthread_create(&r->thread, NULL, serve_main, r) == 0;
    return r->serving ? OK : fail(e, ERR_LIMIT, "cannot start a thread");
}

static void end_own(struct remote *r)
{
    if (r->serving) {
        http_server_drain(r->server, DRAIN_MS); /* other commands may have found it */
        pthread_join(r->thread, NULL);
    }
    parts_stop(&r->parts, 0);
    http_server_free(r->server);
    parts_close(&r->parts);
    if (r->own) log_set_level(r->level);
    r->server = NULL;
    r->serving = r->own = false;
}

static bool somebody_listens(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path) return false;
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool yes = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0) close(fd);
    return yes;
}

/* The home's owner; while one comes or goes, this one waits. */
static status find_owner(struct remote *r, struct error *e)
{
    int64_t until = clock_us() + WAIT_MS * 1000LL;
    status s;
    TRY(parts_socket(r->socket, sizeof r->socket, NULL, e));
    strcpy(r->url, "http://localhost");
    for (;;) {
        if (somebody_listens(r->socket)) return OK;
        s = serve_own(r, e);
        if (s == OK) return OK;
        end_own(r);
        if (s != ERR_BUSY || clock_us() > until) return s;
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}

status remote_open(struct remote **out, const struct remote_options *o, struct error *e)
{
    struct remote *r = mem_zalloc(1, sizeof *r);
    status s = http_client_new(&r->client, e);
    int n = 0;
    if (s == OK && !o->server) {
        r->found = true;
        s = find_owner(r, e);
    } else if (s == OK && !strncmp(o->server, "unix:", 5)) {
        n = snprintf(r->socket, sizeof r->socket, "%s", o->server + 5);
        strcpy(r->url, "http://localhost");
    } else if (s == OK) {
        const char *scheme = strstr(o->server, "://") ? "" : "http://";
        n = snprintf(r->url, sizeof r->url, "%s%s", scheme, o->server);
        while (n > 0 && n < (int)sizeof r->url && r->url[n - 1] == '/') r->url[--n] = 0;
        if (n >= (int)sizeof r->url) s = fail(e, ERR_ARG, "--server: that is too long");
    }
    if (o->api_key) snprintf(r->auth, sizeof r->auth, "Bearer %s", o->api_key);
    if (s == OK)
        *out = r;
    else
        remote_close(r);
    return s;
}

void remote_close(struct remote *r)
{
    if (!r) return;
    http_client_free(r->client);
    end_own(r);
    free(r);
}

bool remote_again(struct remote *r)
{
    struct error e;
    return r->found && !r->own && r->cut && find_owner(r, &e) == OK;
}

bool remote_is_own(const struct remote *r)
{
    return r->own;
}

/* ---- questions --------------------------------------------------------------------------------------- */

static status code_meaning(int code)
{
    switch (code) {
    case 400: return ERR_ARG;
    case 404: return ERR_NOT_FOUND;
    case 409: return ERR_BUSY;
    case 501: return ERR_UNSUPPORTED;
    default: return ERR_IO;
    }
}

/* {"error": "..."}, {"error": {"message": ".."}}, {"detail": ".."}: what servers say. */
static status refusal(int code, const struct buf *said, struct error *e)
{
    json_t *v = json_loadb(said->data ? said->data : "", said->n, 0, NULL),
           *why = json_object_get(v, "error");
    const char *text = json_is_object(why) ? json_text(why, "message") : json_text(v, "error");
    if (!*text) text = json_text(v, "detail");
    status s = *text ? fail(e, code_meaning(code), "%s", text)
                     : fail(e, code_meaning(code), "the server answered %d", code);
    json_decref(v);
    return s;
}

struct request {
    struct http_header header[3];
    char url[4096], *body;
    struct http_call_options o;
};

static void request_make(struct request *q, const struct remote *r, const char *method, const char *path,
                         json_t *body)
{
    size_t n = 0;
    *q = (struct request){.body = body ? json_dumps(body, JSON_COMPACT) : NULL};
    json_decref(body);
    snprintf(q->url, sizeof q->url, "%s%s", r->url, path);
    if (*r->auth) q->header[n++] = (struct http_header){"Authorization", r->auth};
    if (q->body) q->header[n++] = (struct http_header){"Content-Type", "application/json"};
    q->o = (struct http_call_options){.method = method,
                                      .url = q->url,
                                      .unix_path = *r->socket ? r->socket : NULL,
                                      .header = q->header,
                                      .n_header = n,
                                      .body = q->body,
                                      .n_body = q->body ? strlen(q->body) : 0,
                                      .first_byte_timeout_ms = 600 * 1000,
                                      .stall_timeout_ms = 600 * 1000};
}

status remote_ask(struct remote *r, const char *method, const char *path, json_t *body, json_t **out,
                  struct error *e)
{
    struct request q;
    struct http_answer a = {0};
    json_t *v = NULL;
    request_make(&q, r, method, path, body);
    status s = http_fetch(r->client, &q.o, &a, e);
    r->cut = s != OK;
    if (s != OK && !strcmp(method, "GET") && remote_again(r)) s = http_fetch(r->client, &q.o, &a, e);
    if (s == OK && (a.code < 200 || a.code > 299)) s = refusal(a.code, &a.body, e);
    if (s == OK && out) {
        v = json_loadb(a.body.data ? a.body.data : "", a.body.n, 0, NULL);
        if (!json_is_object(v)) s = fail(e, ERR_FORMAT, "%s %s: the answer is no JSON object", method, path);
    }
    if (s == OK && out)
        *out = v;
    else
        json_decref(v);
    http_answer_deinit(&a);
    free(q.body);
    return s;
}

struct follow {
    const struct remote_reader *reader;
    struct buf refused;
    const char *url;
    struct error e;
    status s;
    int code;
    bool ended;
};

static void on_head(struct http_call *c, void *user, int code)
{
    ((struct follow *)user)->code = code;
}
static void on_body(struct http_call *c, void *user, const char *p, size_t n)
{
    struct follow *f = user;
    if (f->code >= 200 && f->code <= 299)
        f->reader->piece(f->reader->user, p, n);
    else
        buf_add(&f->refused, p, n);
}
static void on_end(struct http_call *c, void *user, const struct http_result *res)
{
    struct follow *f = user;
    f->ended = true;
    f->s = res->cause == HTTP_CAUSE_NONE ? OK : http_result_error(res, f->url, &f->e);
}

status remote_follow(struct remote *r, const char *method, const char *path, json_t *body,
                     const struct remote_reader *reader, struct error *e)
{
    static const struct http_call_ops ops = {.head = on_head, .body = on_body, .end = on_end};
    struct request q;
    struct follow f = {.reader = reader, .refused.max = 1 << 20};
    request_make(&q, r, method, path, body);
    f.url = q.url;
    struct http_call *call = http_call_start(r->client, &q.o, &ops, &f);
    while (!f.ended) {
        http_client_wait(r->client, LOOK_MS);
        if (f.ended || !reader->go_on || reader->go_on(reader->user)) continue;
        http_call_cancel(call);
        f.ended = true;
    }
    r->cut = f.s != OK;
    if (f.s != OK) {
        *e = f.e;
    } else if (f.code && (f.code < 200 || f.code > 299)) {
        f.s = refusal(f.code, &f.refused, e);
    }
    buf_deinit(&f.refused);
    free(q.body);
    return f.s;
}

const char *remote_path(const char *prefix, const char *name, const char *suffix)
{
    static char ring[4][2048];
    static unsigned at;
    char *out = ring[at++ % COUNT_OF(ring)];
    size_t n = (size_t)snprintf(out, sizeof ring[0], "%s", prefix);
    for (; *name && n + 4 < sizeof ring[0]; name++) {
        bool plain = (*name >= 'a' && *name <= 'z') || (*name >= 'A' && *name <= 'Z') ||
                     (*name >= '0' && *name <= '9') || strchr("-_.~:", *name);
        n += (size_t)snprintf(out + n, 4, plain ? "%c" : "%%%02X", (unsigned char)*name);
    }
    snprintf(out + n, sizeof ring[0] - n, "%s", suffix);
    return out;
}

/* ---- commands ---------------------------------------------------------------------------------------- */

int remote_main(const struct remote_command *c, int argc, char **argv)
{
    const char *word[MAX_WORDS];
    struct remote *r = NULL;
    struct error e = {0};
    size_t n = 0;
    status s = opt_parse(c->command->opts, argc, argv, word, &n, MIN(c->max_word, (size_t)MAX_WORDS), &e);
    if (s == OK && n < c->min_word)
        s = fail(&e, ERR_ARG, "usage: corral %s %s", c->command->name, c->command->args);
    if (s != OK) return cli_usage_error(c->command, &e);
    s = remote_open(&r, c->o, &e);
    if (s == OK) s = c->run(r, word, n, &e);
    remote_close(r);
    return s == OK ? EXIT_OK : cli_error(&e);
}

const char *json_text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "";
}

double json_num(const json_t *o, const char *name)
{
    return json_number_value(json_object_get(o, name));
}

bool json_yes(const json_t *o, const char *name)
{
    return json_is_true(json_object_get(o, name));
}

void json_print(json_t *v)
{
    json_dumpf(v, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(v);
}
