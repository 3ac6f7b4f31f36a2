/* Registries of Ollama's kind: a manifest of layers, each a blob named by its digest.
 * Source: the OCI distribution specification (manifests, blobs, token authentication); the media types of
 * layers are Ollama's, application/vnd.ollama.image.*. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "hub/hub_int.h"
#include "store/store.h"

enum { MAX_MANIFEST = 4 << 20, MAX_TEXT = 256 * 1024, MAX_LAYERS = 256 };

static const char accepted[] = "application/vnd.docker.distribution.manifest.v2+json, */*";

/* ---- asking
 * ------------------------------------------------------------------------------------------------ */

static char *url_of(const struct hub_session *s, const struct hub_ref *ref, const char *what,
                    const char *which)
{
    struct buf b = {0};
    if (ref->host) {
        size_t n = strcspn(ref->host, ":");
        bool here = (n == 9 && !strncasecmp(ref->host, "localhost", n)) ||
                    (n == 9 && !strncmp(ref->host, "127.0.0.1", n));
        buf_addf(&b, "%s://%s", here ? "http" : "https", ref->host);
    } else {
        buf_adds(&b, s->config->registry);
    }
    buf_addf(&b, "/v2/%s/%s/%s", ref->repo, what, which);
    return b.data;
}

static void fields(const struct hub_session *s, const char *url, struct hub_fields *out)
{
    struct buf b = {0};
    hub_fields_add(out, "Accept", accepted);
    if (!s->bearer) return;
    buf_addf(&b, "Bearer %s", s->bearer);
    hub_fields_add(out, "Authorization", b.data);
    buf_deinit(&b);
}

static status explain(struct hub_session *s, const struct hub_ref *ref, const struct http_answer *a,
                      struct error *e)
{
    if (a->code == 404) return fail(e, ERR_NOT_FOUND, "the registry has no %.80s:%.60s", ref->repo, ref->tag);
    if (a->code == 401 || a->code == 403)
        return fail(
            e, ERR_ARG,
            "the registry does not let everybody read %.80s; models that need an account are not supported",
            ref->repo);
    return OK;
}

static status get(struct hub_session *s, const char *url, size_t max_bytes, struct http_answer *a,
                  struct error *e)
{
    struct hub_fields f = {0};
    fields(s, url, &f);
    status r = hub_get(s, url, &f, max_bytes, 10, a, e);
    hub_fields_deinit(&f);
    return r;
}

/* name="value" of a challenge, percent-encoded into a URL. */
static char *parameter(const char *challenge, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = challenge; (p = strstr(p, name)); p += n)
        if (p > challenge && strchr(" ,", p[-1]) && p[n] == '=' && p[n + 1] == '"')
            return mem_strndup(p + n + 2, strcspn(p + n + 2, "\""));
    return mem_strdup("");
}

/* A token for everybody, from where the challenge says. */
static status get_token(struct hub_session *s, const char *challenge, struct error *e)
{
    char *realm = parameter(challenge, "realm"), *service = parameter(challenge, "service"),
         *scope = parameter(challenge, "scope");
    struct buf url = {0};
    struct http_answer a = {0};
    json_t *o = NULL;
    buf_addf(&url, "%s%sservice=", realm, strchr(realm, '?') ? "&" : "?");
    hub_add_path(&url, service);
    buf_adds(&url, "&scope=");
    hub_add_query(&url, scope);
    status r = strncasecmp(challenge, "Bearer ", 7) != 0 || !*realm
                   ? fail(e, ERR_UNSUPPORTED, "the registry wants another kind of login")
                   : hub_get(s, url.data, NULL, MAX_TEXT, 5, &a, e);
    if (r == OK && a.code == 200) o = json_loadb(a.body.data ? a.body.data : "", a.body.n, 0, NULL);
    const char *token = json_string_value(json_object_get(o, "token"));
    if (!token) token = json_string_value(json_object_get(o, "access_token"));
    if (r == OK && !token) r = fail(e, ERR_ARG, "the registry gives no token to everybody (%d)", a.code);
    if (r == OK) s->bearer = mem_strdup(token);
    json_decref(o);
    http_answer_deinit(&a);
    buf_deinit(&url);
    free(realm);
    free(service);
    free(scope);
    return r;
}

static status get_manifest(struct hub_session *s, const struct hub_ref *ref, json_t **out, char **digest,
                           struct error *e)
{
    char *url = url_of(s, ref, "manifests", ref->tag), hex[65];
    struct http_answer a = {0};
    status r = get(s, url, MAX_MANIFEST, &a, e);
    const char *challenge = http_answer_header(&a, "www-authenticate");
    if (r == OK && a.code == 401 && challenge && !s->bearer) {
        r = get_token(s, challenge, e);
        http_answer_deinit(&a);
        a = (struct http_answer){0};
        if (r == OK) r = get(s, url, MAX_MANIFEST, &a, e);
    }
    if (r == OK && a.code != 200) r = hub_refused(s, &hub_ollama, ref, &a, url, e);
    if (r == OK && !(*out = json_loadb(a.body.data ? a.body.data : "", a.body.n, 0, NULL)))
        r = fail(e, ERR_FORMAT, "%.120s: the manifest is no JSON", url);
    if (r == OK) {
        struct buf b = {0};
        hub_sha256_hex(hex, a.body.data, a.body.n);
        buf_addf(&b, "sha256:%s", hex);
        *digest = b.data;
    }
    http_answer_deinit(&a);
    free(url);
    return r;
}

/* ---- layers
 * -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *type, *file;
} kinds[] = {{"model", "model.gguf"},      {"template", "template"},  {"prompt", "template"},
             {"system", "system"},         {"params", "params.json"}, {"license", "license"},
             {"messages", "messages.json"}};

static bool has_file(const struct hub_plan *p, const char *path)
{
    for (size_t i = 0; i < p->n_file; i++)
        if (!strcmp(p->file[i].path, path)) return true;
    return false;
}

/* "license", "license-2", ...: a name may come several times. */
static void free_name(const struct hub_plan *p, const char *name, struct buf *out)
{
    buf_adds(out, name);
    for (int i = 2; has_file(p, out->data); i++) {
        buf_reset(out);
        buf_addf(out, "%s-%d", name, i);
    }
}

static status take_layer(struct hub_session *s, const struct hub_ref *ref, const json_t *layer,
                         struct hub_plan *out, struct error *e)
{
    static const char prefix[] = "application/vnd.ollama.image.";
    const char *type = json_string_value(json_object_get(layer, "mediaType")),
               *digest = json_string_value(json_object_get(layer, "digest"));
    json_int_t size = json_integer_value(json_object_get(layer, "size"));
    struct buf name = {0};
    size_t k = 0;
    if (!type || strncmp(type, prefix, sizeof prefix - 1) != 0 || !digest || size < 0 ||
        strncmp(digest, "sha256:", 7) != 0 || !hub_digest_is_good(digest))
        return fail(e, ERR_FORMAT, "the manifest has a layer that is none of Ollama's");
    type += sizeof prefix - 1;
    if (!strcmp(type, "adapter"))
        return fail(e, ERR_UNSUPPORTED, "the model has an adapter, which is not supported");
    while (k < COUNT_OF(kinds) && strcmp(kinds[k].type, type) != 0) k++;
    if (k == COUNT_OF(kinds)) {
        LOG(INFO, "hub", "layer_left_out", "reference=\"%s\" type=\"%s\"", ref->text, type);
        return OK;
    }
    free_name(out, kinds[k].file, &name);
    status r = hub_plan_add(out, name.data, url_of(s, ref, "blobs", digest), (uint64_t)size, digest, e);
    buf_deinit(&name);
    return r;
}

static status take_layers(struct hub_session *s, const struct hub_ref *ref, const json_t *manifest,
                          struct hub_plan *out, struct error *e)
{
    const json_t *layers = json_object_get(manifest, "layers");
    if (json_array_size(layers) > MAX_LAYERS)
        return fail(e, ERR_LIMIT, "the manifest has more than %d layers", MAX_LAYERS);
    for (size_t i = 0; i < json_array_size(layers); i++)
        TRY(take_layer(s, ref, json_array_get(layers, i), out, e));
    for (size_t i = 0; i < out->n_file; i++) {
        if (strcmp(out->file[i].path, "model.gguf") != 0) continue;
        struct hub_file f = out->file[0]; /* in front: what the model is opened by */
        out->file[0] = out->file[i];
        out->file[i] = f;
        return OK;
    }
    return fail(e, ERR_UNSUPPORTED, "the manifest has no layer with a GGUF model");
}

/* ---- what params and system say, as options of the model
 * ------------------------------------------------------- */

static status get_text(struct hub_session *s, const struct hub_plan *p, const char *path,
                       struct http_answer *a, struct error *e)
{
    for (size_t i = 0; i < p->n_file; i++) {
        char hex[65];
        if (strcmp(p->file[i].path, path) != 0) continue;
        TRY(get(s, p->file[i].url, MAX_TEXT, a, e));
        if (a->code != 200) return fail(e, ERR_IO, "%.120s: the server answers %d", p->file[i].url, a->code);
        hub_sha256_hex(hex, a->body.data ? a->body.data : "", a->body.n);
        if (strcmp(p->file[i].digest + strlen("sha256:"), hex) != 0)
            return fail(e, ERR_FORMAT, "%.120s: the digest is another", p->file[i].url);
    }
    return OK;
}

/* Names of Ollama's parameters are mostly those of the fields of requests. */
static void take_params(json_t *options, const json_t *params)
{
    static const char *const same[] = {
        "temperature",       "top_k",         "top_p",          "min_p",
        "typical_p",         "repeat_last_n", "repeat_penalty", "presence_penalty",
        "frequency_penalty", "seed",          "stop",           "mirostat",
        "mirostat_tau",      "mirostat_eta"};
    json_t *defaults = json_object(), *n;
    for (size_t i = 0; i < COUNT_OF(same); i++)
        if ((n = json_object_get(params, same[i]))) json_object_set(defaults, same[i], n);
    if ((n = json_object_get(params, "num_predict")) && json_integer_value(n) > 0)
        json_object_set(defaults, "max_tokens", n);
    if ((n = json_object_get(params, "num_ctx")) && json_integer_value(n) > 0)
        json_object_set(options, "context", n);
    if (json_object_size(defaults)) json_object_set(options, "defaults", defaults);
    json_decref(defaults);
}

/* What a source says of them may be more than they can be: then the model comes without. */
static bool are_options(const char *json)
{
    struct store_settings o;
    struct error e;
    bool good = store_settings_read(&o, json, &e) == OK;
    store_settings_deinit(&o);
    if (!good) LOG(WARN, "hub", "options_left_out", "why=\"%s\"", e.msg);
    return good;
}

static status take_options(struct hub_session *s, struct hub_plan *out, struct error *e)
{
    struct http_answer params = {0}, system = {0};
    json_t *options = json_object(), *o = NULL;
    status r = get_text(s, out, "params.json", &params, e);
    if (r == OK) r = get_text(s, out, "system", &system, e);
    if (r == OK && params.body.n) o = json_loadb(params.body.data, params.body.n, 0, NULL);
    if (r == OK && o) take_params(options, o);
    if (r == OK && system.body.n)
        json_object_set_new(options, "system", json_stringn(system.body.data, system.body.n));
    if (r == OK && json_object_size(options)) out->details = json_dumps(options, JSON_COMPACT);
    if (out->details && !are_options(out->details)) {
        free(out->details);
        out->details = NULL;
    }
    json_decref(o);
    json_decref(options);
    http_answer_deinit(&params);
    http_answer_deinit(&system);
    return r;
}

static status plan(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    json_t *manifest = NULL;
    status r = get_manifest(s, ref, &manifest, &out->revision, e);
    if (r == OK) r = take_layers(s, ref, manifest, out, e);
    json_decref(manifest);
    return r == OK ? take_options(s, out, e) : r;
}

const struct hub_source hub_ollama = {
    .plan = plan, .fields = fields, .explain = explain, .max_redirects = 10};
