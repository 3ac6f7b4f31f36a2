#include "api/kept.h"

#include <stdlib.h>
#include <string.h>

#include "api/recall.h"
#include "api/request.h"
#include "api/session.h"

/* The caller's. Conversations lie there too, and clients may ask for anything. */
static json_t *find(struct http_exchange *x, struct recall *kept)
{
    json_t *v = recall_get(kept, request_tenant(x), http_param(x, "id"));
    if (json_is_object(json_object_get(v, "response"))) return v;
    json_decref(v);
    return NULL;
}

/* Takes v. */
static bool reply(struct http_exchange *x, json_t *v)
{
    char *text = json_dumps(v, JSON_COMPACT);
    json_decref(v);
    if (!text) return false;
    http_reply(x, 200, "application/json", text, strlen(text));
    free(text);
    return true;
}

bool kept_response(struct http_exchange *x, struct recall *kept)
{
    json_t *v = find(x, kept), *response = json_incref(json_object_get(v, "response"));
    json_decref(v);
    return reply(x, response);
}

bool kept_input_items(struct http_exchange *x, struct recall *kept)
{
    json_t *v = find(x, kept);
    if (!v) return false;
    json_t *list =
        json_pack("{s:s,s:O,s:b}", "object", "list", "data", json_object_get(v, "input"), "has_more", false);
    json_decref(v);
    return reply(x, list);
}

bool kept_delete(struct http_exchange *x, struct recall *kept)
{
    json_t *v = find(x, kept);
    const char *id = http_param(x, "id");
    if (!v || !recall_drop(kept, request_tenant(x), id)) {
        json_decref(v);
        return false;
    }
    json_decref(v);
    return reply(x, json_pack("{s:s,s:s,s:b}", "id", id, "object", "response", "deleted", true));
}

bool kept_delete_session(struct http_exchange *x, struct sessions *kept)
{
    if (!sessions_drop(kept, request_tenant(x), http_param(x, "session_id"))) return false;
    http_reply(x, 200, "application/json", "{\"deleted\":true}", 16);
    return true;
}
