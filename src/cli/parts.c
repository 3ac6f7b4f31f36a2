#include "cli/parts.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "cli/model_file.h"

static status open_store(struct parts *p, const char *home, uint32_t wait_ms, struct error *e)
{
    int64_t until = clock_us() + (int64_t)wait_ms * 1000;
    status s = store_open(&p->store, home, e);
    while (s == ERR_BUSY && clock_us() < until) {
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        s = store_open(&p->store, home, e);
    }
    return s;
}

status parts_open(struct parts *p, const char *home, const struct pool_options *pool, uint32_t wait_ms,
                  struct error *e)
{
    char own[MODEL_PATH_MAX];
    struct pool_options po = *pool;
    if (!home) {
        TRY(cli_home(own, e));
        home = own;
    }
    TRY(open_store(p, home, wait_ms, e));
    TRY(devices_open(&p->devices, &(struct devices_options){.first_ms = p->idle ? -1 : 0}, e));
    TRY(aws_open(&p->aws, NULL, e));
    p->pull.idle = p->idle;
    TRY(pulls_open(&p->pulls, p->store, &p->pull, e));
    po.store = p->store;
    po.devices = p->devices;
    po.home = store_home(p->store);
    TRY(pool_new(&p->pool, &po, e));
    const struct gateway_options go = {.pool = p->pool,
                                       .store = p->store,
                                       .pulls = p->pulls,
                                       .devices = p->devices,
                                       .max_models = po.max_models,
                                       .strategy = po.placement,
                                       .remember = p->remember,
                                       .local_files = p->local_files,
                                       .private_hosts = p->private_hosts};
    return gateway_new(&p->gateway, &go, e);
}

void parts_stop(struct parts *p, uint32_t drain_ms)
{
    gateway_stop(p->gateway);
    if (p->pool) pool_stop(p->pool, drain_ms);
    pulls_close(p->pulls);
    p->pulls = NULL;
}

void parts_close(struct parts *p)
{
    gateway_free(p->gateway);
    pool_free(p->pool);
    aws_close(p->aws);
    devices_close(p->devices);
    store_close(p->store);
    *p = (struct parts){0};
}

status parts_socket(char *out, size_t cap, const char *home, struct error *e)
{
    char own[MODEL_PATH_MAX];
    if (!home) {
        TRY(cli_home(own, e));
        home = own;
    }
    int n = snprintf(out, cap, "%s/corral.sock", home);
    return n > 0 && (size_t)n < cap ? OK : fail(e, ERR_LIMIT, "the path of the home is too long");
}
