/* Headers that are passed on are listed; all others stay where they are. So what concerns one connection (hop
 * by hop), a client's cookies, and what a worker says about itself do not cross. */
#include <string.h>
#include <strings.h>

#include "gateway/relay.h"

/* own_only: not to a server that is not ours. */
static const struct {
    const char *name;
    bool own_only;
} asks[] = {{"Content-Type", false},    {"Accept", false},          {"Accept-Language", false},
            {"Idempotency-Key", false}, {"tracestate", false},      {"anthropic-version", false},
            {"anthropic-beta", false},  {"OpenAI-Beta", false},     {"Last-Event-ID", false},
            {"User-Agent", false},      {"Authorization", true},    {"X-Api-Key", true},
            {"X-Corral-Strict", true},  {"X-Corral-Priority", true}};

/* The worker knows whose request it is by the key: clients share a model fairly. */
size_t relay_request_headers(const struct http_exchange *x, bool remote, struct http_header *out)
{
    size_t n = 0;
    for (size_t i = 0; i < COUNT_OF(asks); i++) {
        const char *value = remote && asks[i].own_only ? NULL : http_header(x, asks[i].name);
        if (value && n < RELAY_MAX_HEADERS) out[n++] = (struct http_header){asks[i].name, value};
    }
    return n;
}

static const char *const answers[] = {
    "Content-Type",      "Cache-Control", "Retry-After", "X-Accel-Buffering", "X-Corral-Ignored",
    "X-Corral-Left-Out", "request-id",    "Allow",       "Location",          "openai-processing-ms"};
static const char *const answer_groups[] = {"x-ratelimit-", "anthropic-"};

bool relay_returns(const char *name)
{
    for (size_t i = 0; i < COUNT_OF(answers); i++)
        if (!strcasecmp(answers[i], name)) return true;
    for (size_t i = 0; i < COUNT_OF(answer_groups); i++)
        if (!strncasecmp(answer_groups[i], name, strlen(answer_groups[i]))) return true;
    return false;
}
