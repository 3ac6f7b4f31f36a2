#include "gateway/permit.h"

#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "http/client.h"
#include "hub/hub.h"
#include "store/store.h"

static bool refuse_local(char *why, size_t cap, const char *what)
{
    snprintf(
        why, cap,
        "%.100s: files of this machine are not for clients of the network: use the commands of corral there, "
        "or serve with --allow-local-files",
        what);
    return false;
}

static bool refuse_private(char *why, size_t cap, const char *what)
{
    snprintf(
        why, cap,
        "%.100s: hosts of this machine's networks are not for clients of the network: use the commands of "
        "corral there, or serve with --allow-private-hosts",
        what);
    return false;
}

/* The host of "http://user@host:port/path" or of "host:port". */
static void host_of(const char *text, char *out, size_t cap)
{
    const char *scheme = strstr(text, "://");
    if (scheme) text = scheme + 3;
    size_t n = strcspn(text, "/?#");
    for (const char *at; (at = memchr(text, '@', n));) {
        n -= (size_t)(at + 1 - text);
        text = at + 1;
    }
    const char *stop = *text == '[' ? "]" : ":";
    if (*text == '[') text++, n--;
    snprintf(out, cap, "%.*s", (int)MIN(n, strcspn(text, stop)), text);
}

/* Written as an address (in any of the ways that resolvers read), or as what every machine calls itself. */
static bool is_private(const char *text)
{
    char host[256];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
    host_of(text, host, sizeof host);
    size_t n = strlen(host);
    if (n && host[n - 1] == '.') host[--n] = 0;
    if (!strcasecmp(host, "localhost") || (n > 10 && !strcasecmp(host + n - 10, ".localhost"))) return true;
    if (getaddrinfo(host, NULL, &hints, &found) != 0) return false;
    bool public = http_address_is_public(NULL, found->ai_addr);
    freeaddrinfo(found);
    return !public;
}

bool permit_pull(const struct gateway *g, bool trusted, const char *reference, char *why, size_t cap)
{
    struct hub_ref ref = {0};
    struct error e;
    char text[4096];
    bool may = true;
    if (trusted || (g->o.local_files && g->o.private_hosts)) return true;
    if (!g->o.store || store_resolve(g->o.store, reference, text, sizeof text, &e) != OK)
        snprintf(text, sizeof text, "%s", reference);
    if (hub_ref_parse(&ref, text, &e) != OK) return true; /* who pulls says what is wrong with it */
    const char *host = ref.kind == HUB_HTTP ? ref.repo : ref.host;
    if (ref.kind == HUB_LOCAL && !g->o.local_files)
        may = refuse_local(why, cap, reference);
    else if (host && !g->o.private_hosts && is_private(host))
        may = refuse_private(why, cap, reference);
    hub_ref_deinit(&ref);
    return may;
}

/* A model that drafts is one of the store, or a path. */
static bool is_stored(const struct gateway *g, const char *name)
{
    struct store_model m = {0};
    struct error e;
    bool is = g->o.store && store_get(g->o.store, name, &m, &e) == OK;
    store_model_deinit(&m);
    return is;
}

bool permit_options(const struct gateway *g, bool trusted, const json_t *options, char *why, size_t cap)
{
    const char *draft = json_string_value(json_object_get(options, "draft")),
               *chat_template = json_string_value(json_object_get(options, "chat_template"));
    if (trusted) return true;
    if (json_array_size(json_object_get(options, "upstreams")) && !g->o.private_hosts)
        return refuse_private(why, cap, "\"upstreams\"");
    if (draft && *draft && !g->o.local_files && !is_stored(g, draft)) return refuse_local(why, cap, draft);
    if (chat_template && *chat_template && strcmp(chat_template, "chatml") != 0 && !g->o.local_files)
        return refuse_local(why, cap, chat_template);
    return true;
}
