#ifndef CORRAL_API_WS_H
#define CORRAL_API_WS_H

#include "http/http.h"

void ws_connect(struct http_exchange *x, void *api); /* GET /v1/ws: see ws.c */

#endif
