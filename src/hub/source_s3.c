/* S3 and what speaks its protocol: GET of objects and ListObjectsV2, signed when there is a key. */
#include <stdlib.h>
#include <string.h>

#include "hub/sigv4.h"

enum { MAX_PAGES = 100, MAX_LIST = 8 << 20, MAX_KEY = 1100 };

/* ---- URLs ------------------------------------------------------------------------------------------------
 */

/* Of the bucket, without '/' at its end. */
static void add_bucket(struct buf *b, const struct hub_config *c, const char *bucket)
{
    if (c->s3_endpoint)
        buf_addf(b, "%s/%s", c->s3_endpoint, bucket);
    else if (strchr(bucket, '.')) /* no certificate has such a name */
        buf_addf(b, "https://s3.%s.amazonaws.com/%s", c->s3_region, bucket);
    else
        buf_addf(b, "https://%s.s3.%s.amazonaws.com", bucket, c->s3_region);
}

static char *object_url(const struct hub_config *c, const char *bucket, const char *key)
{
    struct buf b = {0};
    add_bucket(&b, c, bucket);
    buf_addc(&b, '/');
    hub_add_path(&b, key);
    return b.data;
}

static void fields(const struct hub_session *s, const char *url, struct hub_fields *out)
{
    const struct hub_config *c = s->config;
    const struct sigv4_key key = {c->s3_key, c->s3_secret, c->s3_session, c->s3_region, "s3"};
    if (c->s3_key && c->s3_secret)
        sigv4_sign(&key, &(struct sigv4_request){.method = "GET", .url = url, .now = time(NULL)}, out);
}

/* ---- what comes back, XML of few elements
 * ------------------------------------------------------------------ */

static void add_unescaped(struct buf *b, const char *p, size_t n)
{
    static const struct {
        const char *name;
        char c;
    } entity[] = {{"&amp;", '&'},   {"&lt;", '<'},   {"&gt;", '>'}, {"&quot;", '"'},
                  {"&apos;", '\''}, {"&#39;", '\''}, {"&#34;", '"'}};
    while (n) {
        size_t used = 1, i = 0;
        char c = *p;
        for (; c == '&' && i < COUNT_OF(entity); i++) {
            size_t length = strlen(entity[i].name);
            if (length > n || memcmp(p, entity[i].name, length) != 0) continue;
            c = entity[i].c;
            used = length;
            break;
        }
        buf_addc(b, c);
        p += used;
        n -= used;
    }
}

/* What stands in the first <name> between p and end; *after is behind it. False: there is none. */
static bool element(const char *p, const char *end, const char *name, const char **text, size_t *n,
                    const char **after)
{
    struct buf tag = {0};
    buf_addf(&tag, "<%s>", name);
    const char *open = memmem(p, (size_t)(end - p), tag.data, tag.n), *close = NULL;
    if (open) {
        *text = open + tag.n;
        buf_reset(&tag);
        buf_addf(&tag, "</%s>", name);
        close = memmem(*text, (size_t)(end - *text), tag.data, tag.n);
    }
    if (close) {
        *n = (size_t)(close - *text);
        *after = close + tag.n;
    }
    buf_deinit(&tag);
    return close;
}

/* The same as a string of at most MAX_KEY characters; "": none. */
static char *element_text(const char *p, const char *end, const char *name)
{
    const char *text, *after;
    size_t n;
    struct buf b = {0};
    if (element(p, end, name, &text, &n, &after) && n <= MAX_KEY) add_unescaped(&b, text, n);
    return b.data ? b.data : mem_strdup("");
}

static status explain(struct hub_session *s, const struct hub_ref *ref, const struct http_answer *a,
                      struct error *e)
{
    const char *region = http_answer_header(a, "x-amz-bucket-region"),
               *body = a->body.data ? a->body.data : "";
    char *code = element_text(body, body + a->body.n, "Code"),
         *why = element_text(body, body + a->body.n, "Message");
    status r = OK;
    if (region && strcmp(region, s->config->s3_region) != 0)
        r = fail(e, ERR_ARG, "the bucket %.60s is in region %.40s: set AWS_REGION", ref->repo, region);
    else if (a->code == 403 && !s->config->s3_key)
        r = fail(e, ERR_ARG,
                 "S3 does not let everybody read this: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY");
    else if (a->code == 404 && !strcmp(code, "NoSuchKey"))
        r = fail(e, ERR_NOT_FOUND,
                 "there is no such key in the bucket; a folder is written with '/' at its end");
    else if (*code && a->code < 500)
        r = fail(e, a->code == 404 ? ERR_NOT_FOUND : ERR_ARG, "S3 says %.60s: %.120s (%d)", code, why,
                 a->code);
    free(code);
    free(why);
    return r;
}

/* ---- folders
 * ----------------------------------------------------------------------------------------------- */

static status take_contents(struct hub_plan *out, const struct hub_config *c, const struct hub_ref *ref,
                            const char *p, const char *end, struct error *e)
{
    size_t folder = strlen(ref->file);
    char *key = element_text(p, end, "Key"), *size = element_text(p, end, "Size");
    status r = OK;
    /* What ends in '/' stands for a folder. */
    if (!strncmp(key, ref->file, folder) && key[folder] && key[strlen(key) - 1] != '/' &&
        hub_path_is_safe(key + folder))
        r = hub_plan_add(out, key + folder, object_url(c, ref->repo, key), strtoull(size, NULL, 10), "", e);
    free(key);
    free(size);
    return r;
}

/* One page of the list; *next: where the next one begins, "" when this was the last. */
static status take_page(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, char **next,
                        struct error *e)
{
    struct buf url = {0};
    struct hub_fields f = {0};
    struct http_answer a;
    add_bucket(&url, s->config, ref->repo);
    buf_adds(&url, "/?");
    if (**next) {
        buf_adds(&url, "continuation-token=");
        hub_add_query(&url, *next);
        buf_addc(&url, '&');
    }
    buf_adds(&url, "list-type=2&prefix=");
    hub_add_query(&url, ref->file);
    fields(s, url.data, &f);
    status r = hub_get(s, url.data, &f, MAX_LIST, 0, &a, e);
    if (r == OK && a.code != 200) r = hub_refused(s, &hub_s3, ref, &a, url.data, e);
    const char *p = a.body.data ? a.body.data : "", *end = p + a.body.n, *text;
    size_t n;
    free(*next);
    *next = r == OK ? element_text(p, end, "NextContinuationToken") : mem_strdup("");
    while (r == OK && element(p, end, "Contents", &text, &n, &p))
        r = take_contents(out, s->config, ref, text, text + n, e);
    http_answer_deinit(&a);
    hub_fields_deinit(&f);
    buf_deinit(&url);
    return r;
}

static status list(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    char *next = mem_strdup("");
    status r = OK;
    int pages = 0;
    do r = take_page(s, ref, out, &next, e);
    while (r == OK && *next && ++pages < MAX_PAGES);
    free(next);
    TRY(r);
    if (!out->n_file) return fail(e, ERR_NOT_FOUND, "there is nothing in this folder");
    return hub_choose(out, NULL, NULL, e);
}

static status plan(struct hub_session *s, const struct hub_ref *ref, struct hub_plan *out, struct error *e)
{
    if (ref->file[strlen(ref->file) - 1] == '/') return list(s, ref, out, e);
    char *url = object_url(s->config, ref->repo, ref->file);
    status r = hub_plan_url(out, url, ref->name, e);
    free(url);
    return r;
}

const struct hub_source hub_s3 = {.plan = plan, .fields = fields, .explain = explain};
