#ifndef CORRAL_GATEWAY_DURATION_H
#define CORRAL_GATEWAY_DURATION_H

#include "http/http.h"

/* How long a model is kept, as Ollama's clients write it: a number of seconds, or a string "5m", "1h30m",
 * "-1"; negative: for ever, -1. raw: a JSON value. False, and *seconds unchanged: it is neither. */
bool duration_read(struct http_str raw, int32_t *seconds);

#endif
