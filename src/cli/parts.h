/* What a gateway is made of, opened and closed in order: the store of a home, devices, pulls, the pool and
 * the gateway over them. `corral serve` listens with it; commands that find no server use it in their own
 * process. */
#ifndef CORRAL_CLI_PARTS_H
#define CORRAL_CLI_PARTS_H

#include "device/device.h"
#include "gateway/gateway.h"
#include "hub/pulls.h"
#include "pool/aws.h"
#include "pool/pool.h"
#include "store/store.h"

struct parts {
    struct store   *store;
    struct devices *devices;
    struct aws     *aws; /* logs what this machine is, if it is one of AWS's */
    struct pulls   *pulls;
    struct pool    *pool;
    struct gateway *gateway;
    /* to be set before */
    bool idle; /* for one command: pulls of before wait until one is begun, and devices are not waited for */
    bool local_files, private_hosts; /* of gateway_options */
    const char *remember;            /* also */
    struct pulls_options pull; /* all but idle */
};
/* home: NULL: $CORRAL_HOME (cli_home). pool: store, devices and home are filled in here. wait_ms: for the
 * home, when another process is about to leave it. Close it also after a failure. */
status parts_open(struct parts *p, const char *home, const struct pool_options *pool, uint32_t wait_ms,
                  struct error *e);
/* When the servers have returned: ends the workers, which have drain_ms to answer what they have. */
void   parts_stop(struct parts *p, uint32_t drain_ms);
void   parts_close(struct parts *p); /* when they were freed */
/* $CORRAL_HOME/corral.sock, where the owner of a home listens for commands. */
status parts_socket(char *out, size_t cap, const char *home, struct error *e);

#endif
