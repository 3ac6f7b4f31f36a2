/* Answers that are written anew every so often, however often they are asked for. */
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "http/http.h"

struct http_fresh {
    pthread_mutex_t lock;
    int64_t for_ns, until_ns;
    bool draining;
    int code;
    struct buf body;
};

struct http_fresh *http_fresh_new(uint32_t ms)
{
    struct http_fresh *f = mem_zalloc(1, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    f->for_ns = (int64_t)ms * 1000000;
    return f;
}

void http_fresh_free(struct http_fresh *f)
{
    if (!f) return;
    pthread_mutex_destroy(&f->lock);
    buf_deinit(&f->body);
    free(f);
}

void http_reply_fresh(struct http_exchange *x, struct http_fresh *f, const char *type, http_writer *write,
                      void *user)
{
    bool draining = http_server_draining(http_exchange_server(x));
    int64_t now = clock_ns();
    pthread_mutex_lock(&f->lock);
    if (now >= f->until_ns || draining != f->draining) {
        buf_reset(&f->body);
        f->code = write(&f->body, x, user);
        f->draining = draining;
        f->until_ns = now + f->for_ns;
    }
    http_reply(x, f->code, type, f->body.data, f->body.n);
    pthread_mutex_unlock(&f->lock);
}
