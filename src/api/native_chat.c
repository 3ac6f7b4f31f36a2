/* POST /chat: one conversation, answered at once or as events of {"delta":{"content":...},"done":false}, the
 * last with done true and the token counts. With a session_id the server remembers what was said (session.h).
 */
#include <stdlib.h>
#include <string.h>

#include "api/generator.h"
#include "api/kept.h"
#include "api/openai.h"
#include "api/render.h"
#include "api/resume.h"
#include "api/session.h"
#include "kv/kv.h"

enum { DEFAULT_HISTORY = 10, MAX_HISTORY = 1000, DEFAULT_TIMEOUT_S = 120, MAX_NAME = 128 };

struct native {
    struct sessions *sessions;
    char session[MAX_NAME + 1]; /* "": none */
    const json_t *added;        /* what this request adds to it; the request keeps it */
};

/* ---- request ----------------------------------------------------------------------------------------- */

static bool set_name(struct parse *p, const char *name, const json_t *v)
{
    for (const char *c = json_string_value(v); *c; c++)
        if (*c <= 0x20 || *c >= 0x7f)
            return refuse(p->f, 400, "invalid_value", name,
                          "'%s' must be printable, without blanks, such as a UUID", name);
    return json_string_length(v) > 0 || refuse(p->f, 400, "invalid_value", name, "'%s' is empty", name);
}

// clang-format off
static const struct field rows[] = {
    {"session_id", FIELD_TEXT, 0, MAX_NAME, .set = set_name, .help = "a conversation that the server remembers for an hour after its last use"},
    {"max_history", FIELD_COUNT, 1, MAX_HISTORY, .def = "10", .help = "at most so many messages of it are sent to the model"},
    {"message", FIELD_TEXT, .help = "what the user says, instead of messages"},
    {"messages", FIELD_ARRAY, .schema = "\"items\":{\"type\":\"object\"}", .help = "what is new, as in chat/completions"},
    {"timeout", FIELD_SECONDS, 0, 86400, AT(total_timeout_ns), .def = "120", .help = "seconds until the answer must be complete; else 408"},
    {"n", FIELD_COUNT, .use = FIELD_REFUSED, .def = "1"},
};
static const struct field_table fields = {"NativeChat", rows, COUNT_OF(rows), &openai_chat_fields};
// clang-format on

/* What the request adds to the conversation. */
static const json_t *new_messages(struct request *r)
{
    json_t *message = json_object_get(r->body, "message"), *list;
    if (!json_is_string(message)) return json_object_get(r->body, "messages");
    list = json_pack("[{s:s, s:O}]", "role", "user", "content", message);
    request_keep(r, list);
    return list;
}

static bool read_conversation(struct request *r, const struct api *api, struct fault *f)
{
    const char *session = json_string_value(json_object_get(r->body, "session_id"));
    const json_t *max = json_object_get(r->body, "max_history"), *added = new_messages(r);
    struct parse p = {.api = api, .r = r, .f = f};
    struct native *n = r->extra = mem_zalloc(1, sizeof *n);
    r->extra_free = free;
    n->sessions = api->sessions;
    n->added = added;
    if (!added)
        return refuse(f, 400, "missing_required_parameter", "messages", "'messages' or 'message' is missing");
    if (!conversation_check(&p, "messages", added)) return false;
    if (!session) return true;
    r->cache_class = MAX(r->cache_class, (uint8_t)KV_SESSION); /* its next turn begins with this one */
    snprintf(n->session, sizeof n->session, "%s", session);
    json_t *old = sessions_get(api->sessions, r->tenant, session);
    bool known = json_array_size(old) > 0;
    old = resume_memory(r, old);
    if (!known && json_array_size(old)) /* what another worker remembered */
        sessions_add(api->sessions, r->tenant, session, old);
    json_t *all =
        sessions_join(old, r->chat.messages, max ? (size_t)json_integer_value(max) : DEFAULT_HISTORY);
    request_keep(r, all);
    return conversation_check(&p, "messages", all);
}

static void init(struct request *r)
{
    request_init(r);
    r->total_timeout_ns = (int64_t)DEFAULT_TIMEOUT_S * 1000000000;
}

static bool check(struct request *r, const struct api *api, struct fault *f)
{
    return read_conversation(r, api, f) && openai_chat_check(r, api, f) && request_check(r, api, f);
}

/* ---- answer ------------------------------------------------------------------------------------------ */

static json_t *calls_of(const struct choice *c)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < c->n_call; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:{s:s, s:s%}}", "id", c->call[i].id, "type", "function",
                                        "function", "name", c->call[i].name, "arguments",
                                        c->call[i].args.n ? c->call[i].args.data : "", c->call[i].args.n));
    return list;
}

/* The conversation has been answered: that is when it is remembered, both sides together. */
static void remember(const struct generation *g)
{
    const struct native *n = g->req.extra;
    const struct choice *c = &g->choice[0];
    if (!n->session[0]) return;
    json_t *all = json_copy((json_t *)n->added);
    json_t *answer = json_pack("{s:s, s:s%}", "role", "assistant", "content",
                               c->content.n ? c->content.data : "", c->content.n);
    if (c->n_call) json_object_set_new(answer, "tool_calls", calls_of(c));
    json_array_append_new(all, answer);
    sessions_add(n->sessions, g->req.tenant, n->session, all);
    json_decref(all);
}

static void add_call(struct buf *out, const struct choice *c, uint32_t i)
{
    buf_addf(out, "{\"index\":%u,\"id\":", i);
    render_str(out, c->call[i].id);
    buf_adds(out, ",\"type\":\"function\",\"function\":{\"name\":");
    render_str(out, c->call[i].name);
    buf_adds(out, ",\"arguments\":");
    buf_json_str(out, c->call[i].args.data ? c->call[i].args.data : "", c->call[i].args.n);
    buf_adds(out, "}}");
}

static void add_end(struct buf *out, const struct generation *g)
{
    const struct native *n = g->req.extra;
    buf_addf(out, ",\"done\":true,\"finish_reason\":\"%s\"", choice_finish(&g->choice[0]));
    if (n->session[0]) {
        buf_adds(out, ",\"session_id\":");
        render_str(out, n->session);
        buf_addf(out, ",\"history\":%zu", json_array_size(g->req.chat.messages));
    }
    buf_adds(out, ",\"usage\":");
    openai_usage(out, g);
    buf_addc(out, '}');
}

static void delta(struct generation *g, struct choice *c, const struct piece *p, struct buf *out)
{
    if (p->kind == PIECE_CALL || p->kind == PIECE_ARGS) return; /* calls are sent whole */
    buf_adds(out, "data: {\"delta\":{");
    if (p->kind == PIECE_CALL_END) {
        buf_adds(out, "\"tool_calls\":[");
        add_call(out, c, p->call);
        buf_addc(out, ']');
    } else {
        struct http_str text = piece_text(c, p);
        buf_adds(out, p->kind == PIECE_REASONING ? "\"reasoning_content\":" : "\"content\":");
        buf_json_str(out, text.p, text.n);
    }
    buf_adds(out, "},\"done\":false}\n\n");
}

static void last(struct generation *g, struct choice *c, struct buf *out) {}

static void end(struct generation *g, struct buf *out)
{
    remember(g);
    buf_adds(out, "data: {\"delta\":{\"content\":\"\"}");
    add_end(out, g);
    buf_adds(out, "\n\n");
}

static void whole(struct generation *g, struct buf *out)
{
    const struct choice *c = &g->choice[0];
    remember(g);
    buf_adds(out, "{\"model\":");
    render_str(out, request_model(&g->req, g->api));
    buf_addf(out,
             ",\"created\":%lld,\"message\":{\"role\":\"assistant\",\"content\":", (long long)g->created);
    buf_json_str(out, c->content.data ? c->content.data : "", c->content.n);
    if (c->reasoning.n) {
        buf_adds(out, ",\"reasoning_content\":");
        buf_json_str(out, c->reasoning.data, c->reasoning.n);
    }
    for (uint32_t i = 0; i < c->n_call; i++) {
        buf_adds(out, i ? "," : ",\"tool_calls\":[");
        add_call(out, c, i);
    }
    buf_adds(out, c->n_call ? "]}" : "}");
    add_end(out, g);
}

static const struct renderer renderer = {
    .family = FAMILY_OPENAI, .delta = delta, .last = last, .end = end, .whole = whole};

/* ---- endpoints --------------------------------------------------------------------------------------- */

const struct generator native_generator = {"/chat", init, &fields, check, &renderer};

static void chat(struct http_exchange *x, void *api)
{
    generator_serve(x, api, &native_generator);
}

static void forget(struct http_exchange *x, void *user)
{
    const struct api *a = user;
    struct fault f;
    if (kept_delete_session(x, a->sessions)) return;
    refuse(&f, 404, "not_found", "session_id", "there is no session '%.128s'", http_param(x, "session_id"));
    reply_fault(x, &renderer, &f);
}

static const struct endpoint endpoints[] = {
    {"POST", "/chat", chat, &fields, "Answer a conversation, which may be remembered", HTTP_BODY_WHOLE,
     HTTP_ROLE_USER},
    {"DELETE", "/chat/{session_id}", forget, .summary = "Forget a conversation"},
};
const struct family native_family = {"Native", endpoints, COUNT_OF(endpoints)};
