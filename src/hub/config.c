/* Settings: what was given, else the environment, else the defaults. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "hub/hub.h"

enum { STALL_MS = 30000, SLOW_MS = 10000, MAX_TRIES = 8, RETRY_MS = 500, MAX_TOKEN = 4096 };

static const char *from_env(const char *given, const char *const *names)
{
    for (; !given && *names; names++) {
        const char *v = getenv(*names);
        if (v && *v) given = v;
    }
    return given;
}

/* The first word of a file; NULL: there is none. */
static char *read_token(const char *path)
{
    struct buf b;
    char *token = NULL;
    buf_init(&b, MAX_TOKEN);
    if (buf_read_file(&b, path, NULL) == OK && b.n) {
        size_t skip = strspn(b.data, " \t\r\n"), n = strcspn(b.data + skip, " \t\r\n");
        if (n) token = mem_strndup(b.data + skip, n);
    }
    buf_deinit(&b);
    return token;
}

/* Where `hf auth login` leaves it; NULL: nowhere. */
static char *token_file(void)
{
    const char *path = getenv("HF_TOKEN_PATH"), *hf_home = getenv("HF_HOME"),
               *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    struct buf b = {0};
    if (path)
        buf_adds(&b, path);
    else if (hf_home)
        buf_addf(&b, "%s/token", hf_home);
    else if (cache)
        buf_addf(&b, "%s/huggingface/token", cache);
    else if (home)
        buf_addf(&b, "%s/.cache/huggingface/token", home);
    return b.data;
}

/* A file that was named goes before the environment. */
static char *find_token(const struct hub_config *given, const char *file)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", NULL};
    if (given->hf_token) return mem_strdup(given->hf_token);
    if (given->hf_token_file) {
        char *token = read_token(file);
        if (!token) LOG(WARN, "hub", "token", "there is no token in %s", file);
        return token;
    }
    const char *v = from_env(NULL, names);
    return v ? mem_strdup(v) : file ? read_token(file) : NULL;
}

static char *copy(const char *given, const char *def, const char *const *names)
{
    const char *v = from_env(given, names);
    return v ? mem_strdup(v) : def ? mem_strdup(def) : NULL;
}

/* The beginning of URLs: without '/' at its end. */
static char *copy_base(const char *given, const char *def, const char *const *names)
{
    char *out = copy(given, def, names);
    for (size_t n = out ? strlen(out) : 0; n && out[n - 1] == '/'; n--) out[n - 1] = 0;
    return out;
}

#define ENV(...) ((const char *const[]){__VA_ARGS__, NULL})

void hub_config_init(struct hub_config *out, const struct hub_config *given)
{
    static const struct hub_config none;
    const struct hub_config *g = given ? given : &none;
    *out = *g;
    out->hf_endpoint = copy_base(g->hf_endpoint, "https://huggingface.co", ENV("HF_ENDPOINT"));
    out->hf_token_file = g->hf_token_file ? mem_strdup(g->hf_token_file) : token_file();
    out->hf_token = find_token(g, out->hf_token_file);
    out->registry = copy_base(g->registry, "https://registry.ollama.ai", ENV("CORRAL_REGISTRY"));
    out->s3_endpoint = copy_base(g->s3_endpoint, NULL, ENV("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"));
    out->s3_region = copy(g->s3_region, "us-east-1", ENV("AWS_REGION", "AWS_DEFAULT_REGION"));
    out->s3_key = copy(g->s3_key, NULL, ENV("AWS_ACCESS_KEY_ID"));
    out->s3_secret = copy(g->s3_secret, NULL, ENV("AWS_SECRET_ACCESS_KEY"));
    out->s3_session = copy(g->s3_session, NULL, ENV("AWS_SESSION_TOKEN"));
    out->ca_file = copy(g->ca_file, NULL, ENV("SSL_CERT_FILE"));
    if (!out->stall_ms) out->stall_ms = STALL_MS;
    if (!out->slow_ms) out->slow_ms = SLOW_MS;
    if (!out->max_tries) out->max_tries = MAX_TRIES;
    if (!out->retry_ms) out->retry_ms = RETRY_MS;
}

void hub_config_deinit(struct hub_config *c)
{
    const char *const own[] = {c->hf_endpoint, c->hf_token, c->hf_token_file, c->registry,   c->s3_endpoint,
                               c->s3_region,   c->s3_key,   c->s3_secret,     c->s3_session, c->ca_file};
    for (size_t i = 0; i < COUNT_OF(own); i++) free((char *)own[i]);
    *c = (struct hub_config){0};
}
