/* What a worker tells the process that started it: lines of JSON to the descriptor that $CORRAL_REPORT_FD
 * names. Nobody listens without that variable, and all of this does nothing. Words: docs/gateway.md.
 *
 * One thread at a time. Nobody is waited for: a line that the pipe has no room for is dropped if it is
 * progress. */
#ifndef CORRAL_CLI_REPORT_H
#define CORRAL_CLI_REPORT_H

#include "engine/engine.h"

void report_open(void); /* first: the variable leaves the environment, no child gets the descriptor */
bool report_wanted(void);
bool report_progress(void *user, size_t done, size_t total); /* for engine_options.progress */
void report_ready(const struct engine *en, uint32_t parallel);
void report_error(const struct error *e);

#endif
