/* Is the server well? For people, load balancers and orchestrators. */
#ifndef CORRAL_API_HEALTH_H
#define CORRAL_API_HEALTH_H

#include "api/api_int.h"

enum { HEALTH_FRESH_MS = 10 }; /* so long a report is good for whoever asks again */
/* NULL: it takes requests. Else why not: "draining", "stalled". */
const char *health_trouble(const struct api *a, const struct http_exchange *x);
void health_report(struct http_exchange *x, void *api); /* GET /health: 200 or 503, and all there is to say */
void health_ready(struct http_exchange *x, void *api);  /* GET /readyz: 200 or 503 */
void health_live(struct http_exchange *x, void *api);   /* GET /livez: 200,
                                                         * or 503 when restarting would help */

#endif
