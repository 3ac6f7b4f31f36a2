/* Keys that clients must show, as `Authorization: Bearer KEY` or `X-Api-Key: KEY`. Without any, all may
 * use the server. Knows no engine: the gateway uses it too. */
#ifndef CORRAL_API_KEYS_H
#define CORRAL_API_KEYS_H

#include "http/http.h"

struct api_keys { char **key; size_t n; };
status api_keys_add(struct api_keys *k, const char *key, struct error *e);
/* One per line; # begins a comment. */
status api_keys_read(struct api_keys *k, const char *path, struct error *e);
void api_keys_deinit(struct api_keys *k);
/* What a request shows as its key, in whichever header; NULL: none. Who has it is one client everywhere. */
const char *api_key_of(const struct http_exchange *x);
/* For http_options.authorize, with a struct api_keys as its user. */
int api_authorize(void *keys, const struct http_exchange *x, enum http_role role, const char **why);

#endif
