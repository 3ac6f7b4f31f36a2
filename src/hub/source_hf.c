/* The Hugging Face hub: a revision becomes a commit, a commit a list of files with their digests.
 * Source: the hub's API, huggingface.co/docs/hub/api, and what huggingface_hub (Python) sends. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "hub/hub_int.h"

enum { MAX_ANSWER = 32 << 20, MAX_PAGES = 200, MAX_FILES = 100000 };

/* The token is for the hub itself, wherever a link leads. */
static void fields(const struct hub_session *s, const char *url, struct hub_fields *out)
{
    struct buf b = {0};
    if (!s->config->hf_token || !hub_same_origin(url, s->config->hf_endpoint)) return;
    buf_addf(&b, "Bearer %s", s->config->hf_token);
    hub_fields_add(out, "Authorization", b.data);
    buf_deinit(&b);
}

static status explain(struct hub_session *s, const struct hub_ref *ref, const struct http_answer *a,
                      struct error *e)
{
    const char *code = http_answer_header(a, "x-error-code");
    bool token = s->config->hf_token, login = a->code == 401 || a->code == 403;
    if (code && !strcmp(code, "GatedRepo"))
        return token ? fail(e, ERR_ARG,
                            "%.80s is gated, and the token that was given may not read it: accept the terms "
                            "at %.60s/%.80s",
                            ref->repo, s->config->hf_endpoint, ref->repo)
                     : fail(e, ERR_ARG, "%.80s is gated: accept the terms at %.60s/%.80s and set HF_TOKEN",
                            ref->repo, s->config->hf_endpoint, ref->repo);
    if (code && !strcmp(code, "RevisionNotFound"))
        return fail(e, ERR_NOT_FOUND, "%.80s has no revision %.80s", ref->repo, ref->rev ? ref->rev : "main");
    if (code && !strcmp(code, "EntryNotFound"))
        return fail(e, ERR_NOT_FOUND, "%.80s has no such file any more", ref->repo);
    if ((login || a->code == 404) && token)
        return fail(e, ERR_NOT_FOUND, "the hub has no %.80s, or the token that was given may not see it",
                    ref->repo);
    if (login || a->code == 404)
        return fail(e, ERR_NOT_FOUND, "the hub has no %.80s; if it is private, set HF_TOKEN", ref->repo);
    return OK;
}

static status get_json(struct hub_session *s, const struct hub_ref *ref, const char *url,
                       struct http_answer *a, json_t **out, struct error *e)
{
    struct hub_fields f = {0};
    fields(s, url, &f);
    status r = hub_get(s, url, &f, MAX_ANSWER, 5, a, e);
    hub_fields_deinit(&f);
    *out = NULL;
    if (r == OK && a->code != 200) r = hub_refused(s, &hub_hf, ref, a, url, e);
    if (r == OK && !(*out = json_loadb(a->body.data ? a->body.data : "", a->body.n, 0, NULL)))
        r = fail(e, ERR_FORMAT, "%.120s: the answer is no JSON", url);
    return r;
}

static status find_commit(struct hub_session *s, const struct hub_ref *ref, char **commit, struct error *e)
{
    struct buf url = {0};
    struct http_answer a = {0};
    json_t *o = NULL;
    buf_addf(&url, "%s/api/models/%s/revision/", s->config->hf_endpoint, ref->repo);
    hub_add_query(&url, ref->rev ? ref->rev : "main");
    status r = get_json(s, ref, url.data, &a, &o, e);
    const char *sha = json_string_value(json_object_get(o, "sha"));
    if (r == OK && (!sha || strspn(sha, "0123456789abcdef") != strlen(sha) || strlen(sha) != 40))
        r = fail(e, ERR_FORMAT, "%.120s: the answer names no commit", url.data);
    if (r == OK) *commit = mem_strdup(sha);
    json_decref(o);
    http_answer_deinit(&a);
    buf_deinit(&url);
    return r;
}

static status take_entry(struct hub_session *s, const struct hub_ref *ref, const json_t *entry,
                         struct hub_plan *out, struct error *e)
{
    const char *type = json_string_value(json_object_get(entry, "type")),
               *path = json_string_value(json_object_get(entry, "path"));
    const json_t *lfs = json_object_get(entry, "lfs");
    const char *oid = json_string_value(json_object_get(lfs ? lfs : entry, "oid"));
    json_int_t size = json_integer_value(json_object_get(lfs ? lfs : entry, "size"));
    struct buf url = {0}, digest = {0};
    if (!type || !path || strcmp(type, "file") != 0 || !hub_path_is_safe(path)) return OK;
    if (out->n_file >= MAX_FILES)
        return fail(e, ERR_LIMIT, "%.80s has more than %d files", ref->repo, MAX_FILES);
    buf_addf(&url, "%s/%s/resolve/%s/", s->config->hf_endpoint, ref->repo, out->revision);
    hub_add_path(&url, path);
    buf_addf(&digest, "%s%s", lfs ? "sha256:" : "git:", oid ? oid : "");
    status r = hub_plan_add(out, path, url.data, size < 0 ? HUB_UNKNOWN : (uint64_t)size, digest.data, e);
    buf_deinit(&digest);
    return r;
}

/* The URL of `Link: <URL>; rel="next"`, if it leads to the hub; NULL: there is no next page. */
static char *next_page(struct hub_session *s, const struct http_answer *a)
{
    const char *link = http_answer_header(a, "link"), *next = link ? strstr(link, "rel=\"next\"") : NULL,
               *open = NULL;
    for (const char *p = link; next && (p = strchr(p, '<')) && p < next; p++) open = p;
    const char *close = open ? strchr(open, '>') : NULL;
    if (!close || close > next) return NULL;
    char *url = mem_strndup(open + 1, (size_t)(close - open - 1));
    if (hub_same_origin(url, s->config->hf_endpoint)) return url;
    free(url);
    return NULL;
}

static status list(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    struct buf first = {0};
    status r = OK;
    buf_addf(&first, "%s/api/models/%s/tree/%s?recursive=1", s->config->hf_endpoint, ref->repo,
             out->revision);
    char *url = first.data;
    for (int i = 0; r == OK && url && i < MAX_PAGES; i++) {
        struct http_answer a = {0};
        json_t *page = NULL, *entry;
        size_t k;
        r = get_json(s, ref, url, &a, &page, e);
        json_array_foreach(page, k, entry) if (r == OK) r = take_entry(s, ref, entry, out, e);
        free(url);
        url = r == OK ? next_page(s, &a) : NULL;
        json_decref(page);
        http_answer_deinit(&a);
    }
    free(url);
    return r;
}

static status plan(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    TRY(find_commit(s, ref, &out->revision, e));
    TRY(list(s, ref, out, e));
    return hub_choose(out, ref->file, ref->tag, e);
}

const struct hub_source hub_hf = {.plan = plan, .fields = fields, .explain = explain, .max_redirects = 10};
