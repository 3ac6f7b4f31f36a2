/* Answers as any hub may give them: what comes of them is a plan whose files stay where they belong, or an
 * error.
 *
 * The first byte says which hub. What follows are its answers, one for each question, with a byte 30 between
 * them: the status as three digits, a line that stands in every header field that is looked at, and the body.
 * Linked with
 * --wrap=hub_get. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hub/hub_int.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
status __wrap_hub_get(struct hub_session *s, const char *url, const struct hub_fields *fields,
                      size_t max_bytes, uint32_t max_redirects, struct http_answer *out, struct error *e);

static const struct hub_config config = {.hf_endpoint = "https://hub.test",
                                         .hf_token = "secret",
                                         .registry = "https://registry.test",
                                         .s3_endpoint = "https://s3.test",
                                         .s3_region = "us-east-1",
                                         .s3_key = "AKIDEXAMPLE",
                                         .s3_secret = "wJalr"};
static char *rest; /* answers to come */

static bool is_at(const char *url, const char *origin)
{
    size_t n = strlen(origin);
    return !strncasecmp(url, origin, n) && strchr("/?#", url[n]); /* or nothing behind it */
}

/* A token is for whom it belongs to. */
static void check_question(const char *url, const struct hub_fields *fields)
{
    for (size_t i = 0; fields && i < fields->n; i++) {
        if (strcmp(fields->at[i].name, "Authorization") != 0) continue;
        bool hub = is_at(url, config.hf_endpoint);
        ASSERT(hub || is_at(url, config.registry) || is_at(url, config.s3_endpoint));
        ASSERT(hub || !strstr(fields->at[i].value, config.hf_token));
    }
}

status __wrap_hub_get(struct hub_session *s, const char *url, const struct hub_fields *fields,
                      size_t max_bytes, uint32_t max_redirects, struct http_answer *out, struct error *e)
{
    static const char *const names[] = {"link", "www-authenticate", "x-error-code", "x-amz-bucket-region"};
    check_question(url, fields);
    *out = (struct http_answer){0};
    char *answer = strsep(&rest, "\x1e");
    if (!answer || strlen(answer) < 3) return fail(e, ERR_IO, "no answer");
    out->code = atoi((const char[]){answer[0], answer[1], answer[2], 0});
    answer += 3;
    char *line = strsep(&answer, "\n");
    for (size_t i = 0; *line && i < COUNT_OF(names); i++) {
        buf_add(&out->head, names[i], strlen(names[i]) + 1);
        buf_add(&out->head, line, strlen(line) + 1);
    }
    if (answer) buf_add(&out->body, answer, MIN(strlen(answer), max_bytes));
    return OK;
}

static void check_plan(const struct hub_plan *p)
{
    struct store_settings o;
    ASSERT(p->n_file > 0 && p->n_file <= HUB_MAX_FILES && p->main < p->n_file && p->revision);
    for (size_t i = 0; i < p->n_file; i++) {
        const struct hub_file *f = &p->file[i];
        ASSERT(hub_path_is_safe(f->path));
        ASSERT(!*f->digest || hub_digest_is_good(f->digest));
        ASSERT(f->bytes == HUB_UNKNOWN || f->bytes <= UINT64_MAX / HUB_MAX_FILES);
        const char *host = strstr(f->url, "//"), *end = strcasestr(f->url, ".test/"); /* of one of ours */
        ASSERT(host && end && end < host + 20);
    }
    ASSERT(store_settings_read(&o, p->details, NULL) == OK);
    store_settings_deinit(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const references[] = {"hf:org/repo", "hf:org/repo:Q4_0@v1", "ollama:tiny:1b",
                                             "s3://bucket/folder/"};
    char *text = mem_strndup((const char *)data, n);
    struct hub_session session = {.config = &config};
    struct hub_plan plan = {0};
    struct hub_ref ref;
    struct error e = {0};
    ASSERT(hub_ref_parse(&ref, references[(unsigned char)*text % COUNT_OF(references)], &e) == OK);
    rest = *text ? text + 1 : text;
    if (hub_plan(&session, &ref, &plan, &e) == OK)
        check_plan(&plan);
    else
        ASSERT(*e.msg);
    hub_plan_deinit(&plan);
    hub_session_deinit(&session);
    hub_ref_deinit(&ref);
    free(text);
    return 0;
}
