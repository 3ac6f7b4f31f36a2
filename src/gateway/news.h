/* What management did that neither the pool nor the pulls tell: models that were removed or are reloaded.
 * The last few, for those who follow (GET /models/sse). Any thread may call these. */
#ifndef CORRAL_GATEWAY_NEWS_H
#define CORRAL_GATEWAY_NEWS_H

#include "gateway/gateway_int.h"

enum { NEWS_KEPT = 64, NEWS_NAME = 256 };
struct news_item { const char *event; char model[NEWS_NAME]; };

struct news *news_new(void);
void news_free(struct news *n); /* NULL is fine */
void news_add(struct news *n, const char *event /* static */, const char *model);
uint64_t news_now(struct news *n); /* for news_next: nothing of what was */
/* The next one after *at; false: there is none. Whoever is more than NEWS_KEPT behind misses the oldest. */
bool news_next(struct news *n, uint64_t *at, struct news_item *out);
/* Fire when there is one, until unwatched. Borrowed. */
void news_watch(struct news *n, struct http_waker *w);
void news_unwatch(struct news *n, struct http_waker *w);

#endif
