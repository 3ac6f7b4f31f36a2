/* Members of a JSON object's text, found without building the document: where a request goes is decided by a
 * few bytes of a body that may hold megabytes. Exact about strings, escapes and nesting; numbers and
 * literals inside values are not looked at, that is for the worker, who refuses what is malformed. */
#ifndef CORRAL_GATEWAY_BODY_H
#define CORRAL_GATEWAY_BODY_H

#include "http/http.h"

struct body_member {
    const char     *name; /* of a member of the outermost object */
    struct http_str raw;  /* its value as it stands there; p NULL: there is none. Of two the last counts */
};
/* False: not an object, or cut off or nested wrongly; what was found before that stays. */
bool body_scan(struct http_str body, struct body_member *m, size_t n);

/* The text of a raw value that is a string; false when it is none, or holds no valid text (an escaped NUL,
 * half a surrogate pair). Appended to out. */
bool body_string(struct http_str raw, struct buf *out);
bool body_is(struct http_str raw, const char *literal); /* true, null, ... */
/* The first element of a raw array, or the first bytes of any other value: what a conversation keeps as it
 * grows. */
struct http_str body_beginning(struct http_str raw, size_t max);

/* The same body with another name of the model, which is added when there was none. model: its raw value, or
 * empty. */
void body_with_model(struct http_str body, struct http_str model, const char *name, struct buf *out);

#endif
