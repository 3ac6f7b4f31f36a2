/* What was kept (recall.h, session.h), as its client asks for it by name: the answers of GET and DELETE of
 * /v1/responses/{id} and of DELETE /chat/{session_id}. They need no model, so that the gateway gives them
 * too, out of the folder that its workers share.
 *
 * True: the exchange is answered. False: there is none of that name of that client. */
#ifndef CORRAL_API_KEPT_H
#define CORRAL_API_KEPT_H

#include "http/http.h"

struct recall;
struct sessions;

bool kept_response(struct http_exchange *x, struct recall *kept);
bool kept_input_items(struct http_exchange *x, struct recall *kept);
bool kept_delete(struct http_exchange *x, struct recall *kept);
bool kept_delete_session(struct http_exchange *x, struct sessions *kept);

#endif
