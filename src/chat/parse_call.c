/* Calls: heads, arguments of one literal, tails. */
#include "base/log.h"
#include "base/rng.h"
#include "chat/parse_int.h"

void parse_begin_calls(struct chat_parser *p, const struct wire_row *w, size_t n_trigger, const char *head)
{
    p->w = w;
    p->raw = p->at;
    p->n_trigger = n_trigger;
    p->announced = p->section_calls = false;
    p->head = head ? head : w->w.head;
    p->state = w->w.begin[0] && !head ? PARSE_SECTION : PARSE_HEAD;
}

static void fill_random(char *s, size_t n, uint64_t seed, uint32_t call)
{
    static const char letter[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint32_t r[4] = {0}, key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 0) rng_philox(r, (const uint32_t[4]){call, (uint32_t)i, 0x63616C6C, 0}, key);
        s[i] = letter[r[i % 4] % (sizeof letter - 1)];
    }
    s[n] = 0;
}

/* As the model wrote it, or in the shape that its template wants, or OpenAI's. */
static void make_id(struct chat_parser *p)
{
    char text[32];
    const char *shape = p->w->id;
    buf_reset(&p->id);
    if (p->cap.id[0]) {
        buf_adds(&p->id, p->cap.id);
    } else if (shape && !strcmp(shape, "{9}")) {
        fill_random(text, 9, p->o.id_seed, p->n_calls);
        buf_adds(&p->id, text);
    } else if (shape) {
        pattern_fill(&p->id, shape, &p->cap);
    } else {
        fill_random(text, 24, p->o.id_seed, p->n_calls);
        buf_addf(&p->id, "call_%s", text);
    }
}

static bool known_tool(const struct chat_parser *p, const char *name)
{
    const json_t *tool;
    size_t i;
    json_array_foreach((json_t *)p->o.tool_list, i, tool)
    {
        const char *s = json_string_value(json_object_get(json_object_get(tool, "function"), "name"));
        if (s && !strcmp(s, name)) return true;
    }
    return !p->o.tool_list;
}

/* The call is one. Where nothing but its shape says so, its function must be known. */
bool parse_announce(struct chat_parser *p)
{
    if (p->announced) return true;
    if (!p->cap.name[0] || (p->w->bare && !known_tool(p, p->cap.name))) return false;
    make_id(p);
    p->announced = p->section_calls = true;
    p->raw = SIZE_MAX;
    buf_reset(&p->space);
    p->trim = true;
    p->n_calls++;
    struct chat_event ev = {.kind = CHAT_CALL, .call = p->n_calls - 1, .name = p->cap.name, .id = p->id.data};
    parse_emit(p, &ev);
    return true;
}

void parse_flush_args(struct chat_parser *p)
{
    if (!p->announced || !p->out.n) return;
    parse_emit(p, &(struct chat_event){
                      .kind = CHAT_ARGS, .call = p->n_calls - 1, .text = p->out.data, .n = p->out.n});
    buf_reset(&p->out);
}

void parse_end_call(struct chat_parser *p, const char *tail)
{
    parse_flush_args(p);
    parse_emit(p, &(struct chat_event){.kind = CHAT_CALL_END, .call = p->n_calls - 1});
    p->announced = false;
    p->tail = tail;
    p->state = PARSE_TAIL;
}

bool parse_fail(struct chat_parser *p, const char *why)
{
    bool harmony = p->w->kind == WIRE_HARMONY;
    if (p->raw != SIZE_MAX && p->n_trigger && !harmony && parse_other_wire(p)) {
        buf_reset(&p->out);
        return true;
    }
    if (!p->warned && !(p->w->bare && !p->announced))
        LOG(WARN, "chat", "malformed_call", "format=%s why=\"%s\"", p->w->w.name, why);
    p->warned |= !p->w->bare || p->announced;
    parse_flush_args(p);
    buf_reset(&p->out);
    p->state = harmony ? PARSE_MESSAGE : PARSE_TEXT;
    p->channel.raw = harmony;
    p->channel.reasoning = false;
    if (p->raw != SIZE_MAX) { /* it has not been announced: all of it is content */
        p->at = p->raw + p->n_trigger;
        parse_text(p, CHAT_CONTENT, p->in.data + p->raw, p->n_trigger);
        p->raw = SIZE_MAX;
    }
    p->announced = false;
    p->fresh = false;
    return true;
}

static void skip_space(struct chat_parser *p)
{
    while (p->at < p->in.n && parse_is_space(p->in.data[p->at])) p->at++;
}

static enum match match_here(struct chat_parser *p, const char *pattern, struct captures *c, size_t *used)
{
    size_t n;
    const char *s = parse_rest(p, &n);
    *used = 0;
    return pattern_match(pattern, s, n, c, used);
}

/* Behind the calls: content again. */
static bool leave(struct chat_parser *p)
{
    p->state = p->w->kind == WIRE_HARMONY ? PARSE_CHANNEL : PARSE_TEXT;
    p->fresh = p->trim = true;
    p->raw = SIZE_MAX;
    return true;
}

/* The head without its fields and what follows them: MATCH if a call begins here. */
static enum match head_begins(struct chat_parser *p, size_t *n_prefix)
{
    char prefix[128];
    size_t used;
    const char *end = strchr(p->w->w.head, '{');
    *n_prefix = end ? (size_t)(end - p->w->w.head) : strlen(p->w->w.head);
    ASSERT(*n_prefix < sizeof prefix - 1);
    memcpy(prefix, p->w->w.head, *n_prefix);
    if (p->w->kind == WIRE_OBJECT) prefix[(*n_prefix)++] = '{';
    prefix[*n_prefix] = 0;
    return match_here(p, prefix, NULL, &used);
}

bool parse_section(struct chat_parser *p)
{
    const struct chat_wire *w = &p->w->w;
    size_t used = 0;
    enum match m;
    if (p->raw == p->at && !p->section_calls) { /* at its beginning */
        m = match_here(p, w->begin, NULL, &used);
        if (m == MATCH_NO) return parse_fail(p, "calls do not begin as they should");
        if (m == MATCH_MORE) return false;
        p->at += used;
        return true;
    }
    skip_space(p);
    if (p->at == p->in.n) return false;
    enum match end = w->end[0] ? match_here(p, w->end, NULL, &used) : MATCH_NO;
    if (end == MATCH) {
        if (!p->section_calls) return parse_fail(p, "no call between the marks of calls");
        p->at += used;
        return leave(p);
    }
    if (p->in.data[p->at] == ',' && p->section_calls && end == MATCH_NO) {
        p->at++;
        return true;
    }
    size_t n_prefix;
    m = head_begins(p, &n_prefix);
    if (m == MATCH_MORE || (end == MATCH_MORE && (m == MATCH_NO || !n_prefix))) return false;
    if (m == MATCH_NO) {
        if (p->section_calls) return leave(p);
        return parse_fail(p, "no call between the marks of calls");
    }
    if (p->section_calls) {
        p->raw = p->at;
        p->n_trigger = 0;
    }
    p->head = w->head;
    p->state = PARSE_HEAD;
    return true;
}

/* An object's head ends before the object. */
static enum match match_head(struct chat_parser *p, size_t *used)
{
    char prefix[128];
    if (p->w->kind != WIRE_OBJECT) return match_here(p, p->head, &p->cap, used);
    const char *brace = strstr(p->head, "{\"");
    ASSERT(brace && (size_t)(brace - p->head) < sizeof prefix);
    memcpy(prefix, p->head, (size_t)(brace - p->head));
    prefix[brace - p->head] = 0;
    return match_here(p, prefix, NULL, used);
}

bool parse_head(struct chat_parser *p)
{
    size_t used = 0;
    memset(&p->cap, 0, sizeof p->cap);
    snprintf(p->cap.index, sizeof p->cap.index, "%u", p->n_calls);
    enum match m = match_head(p, &used);
    if (m == MATCH_MORE) return false;
    if (m == MATCH_NO) return parse_fail(p, "the head of a call");
    p->at += used;
    p->any_param = false;
    if (p->w->kind == WIRE_OBJECT) {
        parse_object_begin(p);
        p->state = PARSE_OBJECT;
        return true;
    }
    switch (p->w->w.args) {
    case CHAT_ARGS_TAGGED: p->state = PARSE_PARAMS; return true;
    case CHAT_ARGS_PYTHON: literal_init(&p->lit, SYNTAX_PYTHON, NULL, true, &p->out); break;
    case CHAT_ARGS_GEMMA: literal_init(&p->lit, SYNTAX_GEMMA, p->w->w.quote, false, &p->out); break;
    default: literal_init(&p->lit, SYNTAX_JSON, NULL, false, &p->out); break;
    }
    p->state = PARSE_ARGS;
    return true;
}

/* Whether arguments begin here; only then a call is announced. */
static enum match args_begin(const struct chat_parser *p)
{
    size_t n, i = 0;
    const char *s = parse_rest(p, &n);
    if (!n) return MATCH_MORE;
    if (p->w->w.args != CHAT_ARGS_PYTHON) return s[0] == '{' ? MATCH : MATCH_NO;
    if (s[0] == ')') return MATCH;
    while (i < n && i < sizeof p->cap.key && s[i] && !strchr("=()[]{},:'\" \t\n", s[i])) i++;
    while (i && i < n && parse_is_space(s[i])) i++;
    return i == n ? MATCH_MORE : i && s[i] == '=' ? MATCH : MATCH_NO;
}

bool parse_args(struct chat_parser *p)
{
    if (!p->announced) {
        skip_space(p);
        enum match m = args_begin(p);
        if (m == MATCH_MORE) return false;
        if (m == MATCH_NO || !parse_announce(p)) return parse_fail(p, "arguments that are none");
    }
    while (p->at < p->in.n) {
        enum literal_step s = literal_feed(&p->lit, p->in.data[p->at], &p->out);
        if (s == LITERAL_BAD) return parse_fail(p, "malformed arguments");
        p->at++;
        if (s == LITERAL_MORE) continue;
        bool bracket = p->w->w.args == CHAT_ARGS_PYTHON; /* has been read already */
        parse_end_call(p, p->w->w.tail + bracket);
        return true;
    }
    return false;
}

/* A tail that is not there is forgiven: the arguments are whole. */
bool parse_tail(struct chat_parser *p)
{
    size_t used;
    enum match m = match_here(p, p->tail, NULL, &used);
    if (m == MATCH_MORE) return false;
    if (m == MATCH) p->at += used;
    if (p->w->w.begin[0] && p->section_calls) {
        p->state = PARSE_SECTION;
        p->raw = SIZE_MAX;
        return true;
    }
    return leave(p);
}
