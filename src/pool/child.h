/* Processes of this program that look at files for it or serve a model: with little environment, no new
 * privileges, limits, and an end when their parent's thread ends. */
#ifndef CORRAL_POOL_CHILD_H
#define CORRAL_POOL_CHILD_H

#include <sys/types.h>

#include "base/base.h"

struct child {
    pid_t pid;   /* 0: none */
    int   pidfd; /* readable once it has ended; -1: the system has none of these */
    int   out;    /* what it writes to stdout and stderr (`plain`: stdout); not blocking, as the other one */
    int   report; /* its reports; -1: none */
};
struct child_options {
    const char *program;
    char *const *argv;
    char *const *env;  /* NAME=VALUE besides what is inherited; NULL ends the list, as of argv */
    bool  plain;       /* no worker: only stdout is of interest */
    uint64_t memory_bytes; /* of its own, not counting mapped files; 0: no limit */
};
/* It dies with this thread, and may become no more than it is. */
status child_spawn(struct child *c, const struct child_options *o, struct error *e);
bool   child_ended(struct child *c, int *wait_status); /* reaped: pid is 0 then */
void   child_signal(const struct child *c, int number);
void   child_close(struct child *c); /* what is left of its descriptors */

#endif
