/* The scanner against jansson: whatever that reads as an object, the scanner reads alike. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "gateway/body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void compare(const json_t *root, const struct body_member *m)
{
    const json_t *v = json_object_get(root, m->name);
    struct buf text = {0};
    ASSERT((v != NULL) == (m->raw.p != NULL));
    if (json_is_string(v)) {
        ASSERT(body_string(m->raw, &text));
        ASSERT(text.n == json_string_length(v) &&
               (!text.n || !memcmp(text.data, json_string_value(v), text.n)));
    } else if (v) {
        json_t *again = json_loadb(m->raw.p, m->raw.n, JSON_DECODE_ANY, NULL);
        ASSERT(json_equal(again, v));
        json_decref(again);
    }
    buf_deinit(&text);
}

/* What is written with another model is the same object with another model. */
static void rename_model(struct http_str body, const struct body_member *model, json_t *root)
{
    struct buf b = {0};
    body_with_model(body, model->raw, "other", &b);
    json_t *got = json_loadb(b.data, b.n, 0, NULL);
    json_object_set_new(root, "model", json_string("other"));
    ASSERT(json_equal(got, root));
    json_decref(got);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct http_str body = {(const char *)data, n};
    struct body_member m[] = {{"model", {0}}, {"stream", {0}}, {"messages", {0}}};
    bool whole = body_scan(body, m, COUNT_OF(m));
    json_t *root = json_loadb(body.p, n, JSON_REJECT_DUPLICATES, NULL);
    for (size_t i = 0; i < COUNT_OF(m); i++) (void)body_beginning(m[i].raw, 64);
    if (json_is_object(root) && !memchr(body.p, 0, n)) { /* jansson 2.14 loses a NUL behind a literal */
        ASSERT(whole);
        for (size_t i = 0; i < COUNT_OF(m); i++) compare(root, &m[i]);
        rename_model(body, &m[0], root);
    }
    json_decref(root);
    return 0;
}
