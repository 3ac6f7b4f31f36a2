/* Commands that ask a server: the one that --server names, or the one that owns $CORRAL_HOME, on its Unix
 * socket. Where nobody does, the command opens the home itself and is that server as long as it runs, so
 * there is one way to do each thing. */
#ifndef CORRAL_CLI_REMOTE_H
#define CORRAL_CLI_REMOTE_H

#include <jansson.h>

#include "base/buf.h"
#include "cli/cli.h"

struct remote_options {
    const char *server, *api_key;
    bool json;
};
/* o: a struct remote_options with static storage. */
#define REMOTE_OPTS(o) \
    {.name = "json", .type = OPT_BOOL, .at = &(o).json, .help = "machine-readable output"}, \
    {.name = "server", .type = OPT_STR, .at = &(o).server, .arg = "URL", \
     .help = "ask this server (http://host:port, or unix:PATH); default: the one of $CORRAL_HOME"}, \
    {.name = "api-key", .type = OPT_STR, .at = &(o).api_key, .arg = "KEY", \
     .help = "for servers that want one"}

struct remote;
status remote_open(struct remote **out, const struct remote_options *o, struct error *e);
void   remote_close(struct remote *r); /* NULL is fine */
bool   remote_is_own(const struct remote *r); /* nobody serves: what is begun stops with this command */

/* body: taken; NULL: none. Answers that are no success are errors, with the server's words. out may be NULL;
 * the answer is an object. */
status remote_ask(struct remote *r, const char *method, const char *path, json_t *body, json_t **out,
                  struct error *e);
/* An answer that goes on, piece by piece. */
struct remote_reader {
    void (*piece)(void *user, const char *p, size_t n);
    bool (*go_on)(void *user); /* asked about ten times a second; may be NULL */
    void *user;
};
status remote_follow(struct remote *r, const char *method, const char *path, json_t *body,
                     const struct remote_reader *reader, struct error *e);
/* After a failure: the server was another command, which has ended meanwhile, and there is one again to be
 * asked. */
bool remote_again(struct remote *r);
/* "/models/NAME/load" with the name encoded as one part of a path: prefix, name, suffix. Valid until the next
 * but three. */
const char *remote_path(const char *prefix, const char *name, const char *suffix);

/* What all these commands do: options, words, a server, the function, the error's exit status. */
struct remote_command {
    const struct command *command;
    struct remote_options *o;
    size_t min_word, max_word;
    status (*run)(struct remote *r, const char *const *word, size_t n_word, struct error *e);
};
int remote_main(const struct remote_command *c, int argc, char **argv);

/* Members of an answer; "", 0, false where there is none. */
const char *json_text(const json_t *o, const char *name);
double      json_num(const json_t *o, const char *name);
bool        json_yes(const json_t *o, const char *name);
void        json_print(json_t *v); /* takes it */

#endif
