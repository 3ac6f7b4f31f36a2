#include "gateway/news.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct news {
    pthread_mutex_t lock;
    struct news_item item[NEWS_KEPT];
    uint64_t n; /* ever */
    struct http_waker **watch;
    size_t n_watch;
};

struct news *news_new(void)
{
    struct news *n = mem_zalloc(1, sizeof *n);
    pthread_mutex_init(&n->lock, NULL);
    return n;
}

void news_free(struct news *n)
{
    if (!n) return;
    pthread_mutex_destroy(&n->lock);
    free(n->watch);
    free(n);
}

void news_add(struct news *n, const char *event, const char *model)
{
    pthread_mutex_lock(&n->lock);
    struct news_item *i = &n->item[n->n++ % NEWS_KEPT];
    i->event = event;
    snprintf(i->model, sizeof i->model, "%s", model);
    for (size_t k = 0; k < n->n_watch; k++) http_waker_fire(n->watch[k]);
    pthread_mutex_unlock(&n->lock);
}

uint64_t news_now(struct news *n)
{
    pthread_mutex_lock(&n->lock);
    uint64_t now = n->n;
    pthread_mutex_unlock(&n->lock);
    return now;
}

bool news_next(struct news *n, uint64_t *at, struct news_item *out)
{
    pthread_mutex_lock(&n->lock);
    if (n->n - *at > NEWS_KEPT) *at = n->n - NEWS_KEPT;
    bool more = *at < n->n;
    if (more) *out = n->item[(*at)++ % NEWS_KEPT];
    pthread_mutex_unlock(&n->lock);
    return more;
}

void news_watch(struct news *n, struct http_waker *w)
{
    pthread_mutex_lock(&n->lock);
    n->watch = mem_realloc(n->watch, n->n_watch + 1, sizeof(struct http_waker *));
    n->watch[n->n_watch++] = w;
    pthread_mutex_unlock(&n->lock);
}

void news_unwatch(struct news *n, struct http_waker *w)
{
    pthread_mutex_lock(&n->lock);
    for (size_t i = 0; i < n->n_watch; i++)
        if (n->watch[i] == w) {
            n->watch[i] = n->watch[--n->n_watch];
            break;
        }
    pthread_mutex_unlock(&n->lock);
}
