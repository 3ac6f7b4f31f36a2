/* Any bytes as an answer, in the format that the first byte says, cut where the bytes say: the same events as
 * in one piece, arguments of finished calls are JSON objects, and nothing is lost while no mark is met. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chat/chat.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char tools[] = "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": "
                            "{\"type\": \"object\", \"properties\": "
                            "{\"s\": {\"type\": \"string\"}, \"n\": {\"type\": \"integer\"}}}}}]";

struct record {
    struct buf out, args;
    int open; /* the kind of the last event, -1: none */
    uint32_t n_calls;
};

static void on_event(void *user, const struct chat_event *ev)
{
    struct record *r = user;
    if (ev->kind == CHAT_CALL) {
        ASSERT(ev->call == r->n_calls++ && ev->name[0] && ev->id[0]);
        buf_addf(&r->out, "\1%s\2%s", ev->name, ev->id);
        buf_reset(&r->args);
    } else if (ev->kind == CHAT_CALL_END) {
        json_error_t e;
        json_t *v = json_loadb(r->args.n ? r->args.data : "", r->args.n, JSON_ALLOW_NUL, &e);
        /* The parser is more patient than jansson: lone surrogates, huge numbers, NUL in keys, bytes that are
         * not UTF-8.
         */
        enum json_error_code code = v ? json_error_unknown : json_error_code(&e);
        ASSERT(json_is_object(v) || code == json_error_invalid_utf8 || code == json_error_numeric_overflow ||
               code == json_error_null_byte_in_key);
        json_decref(v);
        buf_adds(&r->out, "\3");
    } else {
        ASSERT(ev->n > 0);
        if (r->open != (int)ev->kind) buf_addf(&r->out, "%c", 4 + (int)ev->kind);
        buf_add(&r->out, ev->text, ev->n);
        if (ev->kind == CHAT_ARGS) buf_add(&r->args, ev->text, ev->n);
    }
    r->open = (int)ev->kind;
}

/* step 0: in one piece */
static void parse(const struct chat_format *f, const struct chat_parse_options *o, const char *text, size_t n,
                  size_t step, struct record *r)
{
    struct chat_parser *p;
    r->open = -1;
    if (chat_parser_new(&p, f, o, NULL) != OK) return;
    for (size_t i = 0, k; i < n; i += k) {
        k = step ? MIN(n - i, 1 + (uint8_t)text[i] % step) : n;
        chat_parser_push(p, text + i, k, on_event, r);
    }
    chat_parser_finish(p, on_event, r);
    chat_parser_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct chat_format *f;
    static json_t *list;
    static size_t n_wire;
    struct record whole = {0}, cut = {0};
    if (!f) {
        struct error e;
        log_set_level(LOG_ERROR);
        ASSERT(chat_format_new(&f, NULL, NULL, 0, &e) == OK);
        list = json_loads(tools, 0, NULL);
        while (chat_wire_at(n_wire)) n_wire++;
    }
    if (n < 2 || n > 1 << 14) return 0;
    chat_format_set_wire(f, chat_wire_at(data[0] % n_wire));
    struct chat_parse_options o = {.tools = !(data[1] & 1),
                                   .reasoning = !(data[1] & 2),
                                   .think_open = data[1] & 4,
                                   .tool_list = data[1] & 8 ? NULL : list,
                                   .id_seed = 1};
    parse(f, &o, (const char *)data + 2, n - 2, 0, &whole);
    parse(f, &o, (const char *)data + 2, n - 2, 1 + data[1] / 16, &cut);
    ASSERT(whole.out.n == cut.out.n &&
           !memcmp(whole.out.n ? whole.out.data : "", cut.out.n ? cut.out.data : "", cut.out.n));
    buf_deinit(&whole.out);
    buf_deinit(&whole.args);
    buf_deinit(&cut.out);
    buf_deinit(&cut.args);
    return 0;
}
