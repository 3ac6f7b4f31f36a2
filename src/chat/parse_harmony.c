/* GPT-OSS: an answer is messages, each with a head that names its channel and recipient:
 *     <|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>...
 *     <|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}<|call|>
 * The recipient may also stand before the channel. Source: OpenAI, "Harmony response format" (2025). */
#include "chat/parse_int.h"

enum { MAX_HEAD = 512 };

static const char message_mark[] = "<|message|>";
static const char *const end_marks[] = {"<|end|>", "<|call|>", "<|return|>", "<|start|>"};

static void skip_space(struct chat_parser *p)
{
    while (p->at < p->in.n && parse_is_space(p->in.data[p->at])) p->at++;
}

/* Whether s may be the head of a message. */
static bool may_be_head(const char *s, size_t n)
{
    static const char *const begin[] = {"<|start|>",     "<|channel|>", "<|message|>",
                                        "<|constrain|>", "to=",         "assistant"};
    for (size_t i = 0; i < COUNT_OF(begin); i++)
        if (!memcmp(s, begin[i], MIN(n, strlen(begin[i])))) return true;
    return false;
}

/* What follows mark in the head, up to a blank or the next mark. */
static void head_word(const char *s, size_t n, const char *mark, char *out, size_t size)
{
    const char *at = memmem(s, n, mark, strlen(mark));
    size_t k = 0;
    out[0] = 0;
    if (!at) return;
    for (at += strlen(mark); at < s + n && !parse_is_space(*at) && *at != '<' && k + 1 < size; at++)
        out[k++] = *at;
    out[k] = 0;
}

static void begin_message(struct chat_parser *p, bool reasoning)
{
    p->channel.reasoning = reasoning;
    p->trim = true;
    buf_reset(&p->space);
    p->state = PARSE_MESSAGE;
}

/* The message's whole text as content, with its head: n bytes that have not been read. */
static void begin_raw(struct chat_parser *p, size_t n)
{
    begin_message(p, false);
    p->channel.raw = true;
    parse_text(p, CHAT_CONTENT, p->in.data + p->at, n);
}

bool parse_channel(struct chat_parser *p)
{
    char channel[32], to[sizeof p->cap.name];
    size_t n;
    skip_space(p);
    const char *s = parse_rest(p, &n);
    if (!n) return false;
    p->channel.raw = false;
    const char *end = memmem(s, n, message_mark, strlen(message_mark));
    if (!may_be_head(s, n) || (!end && n > MAX_HEAD)) { /* no head at all: the text that a client began */
        begin_message(p, false);
        return true;
    }
    if (!end) return false;
    size_t n_head = (size_t)(end - s) + strlen(message_mark);
    head_word(s, n_head, "<|channel|>", channel, sizeof channel);
    head_word(s, n_head, "to=", to, sizeof to);
    bool call = !strncmp(to, "functions.", 10), reasoning = !strcmp(channel, "analysis");
    if (call && p->o.tools) {
        memset(&p->cap, 0, sizeof p->cap);
        memcpy(p->cap.name, to + 10, strlen(to + 10) + 1);
        p->w = wire_row(p->f->caps.wire);
        p->raw = p->at;
        p->n_trigger = n_head;
        literal_init(&p->lit, SYNTAX_JSON, NULL, false, &p->out);
        p->state = PARSE_ARGS;
    } else if (call || (reasoning && !p->o.reasoning)) {
        begin_raw(p, n_head);
    } else {
        begin_message(p, reasoning);
    }
    p->at += n_head;
    return true;
}

bool parse_message(struct chat_parser *p)
{
    size_t n, take, n_mark = 0;
    const char *s = parse_rest(p, &n), *end = NULL;
    take = n;
    for (size_t i = 0; i < COUNT_OF(end_marks); i++) {
        const char *at = memmem(s, take, end_marks[i], strlen(end_marks[i]));
        size_t hold = at || p->final ? 0 : parse_partial(s, take, end_marks[i]);
        if (at) {
            end = at;
            n_mark = strlen(end_marks[i]);
            take = (size_t)(at - s);
        } else if (!end) {
            take -= hold;
        }
    }
    bool start = end && s[2 + take] == 's';
    if (take) parse_text(p, p->channel.reasoning ? CHAT_REASONING : CHAT_CONTENT, s, take);
    p->at += take;
    if (!end) return take > 0;
    if (p->channel.raw && !start) parse_text(p, CHAT_CONTENT, end, n_mark);
    buf_reset(&p->space);
    p->trim = true;
    if (!start) p->at += n_mark;
    p->state = PARSE_CHANNEL;
    return true;
}

void parse_harmony_finish(struct chat_parser *p)
{
    size_t n;
    const char *s = parse_rest(p, &n);
    if (n && p->state == PARSE_MESSAGE)
        parse_text(p, p->channel.reasoning ? CHAT_REASONING : CHAT_CONTENT, s, n);
    p->at = p->in.n;
    if (p->channel.reasoning || p->state == PARSE_CHANNEL) p->trim = true;
    p->state = PARSE_TEXT;
}
