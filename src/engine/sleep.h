/* Sleep: weights and KV memory given back while nobody asks, loaded again when somebody does. Blocks of
 * requests whose cache class is KV_WORKSPACE are kept in host memory meanwhile; all others are forgotten.
 * Private to src/engine, the engine thread's. */
#ifndef CORRAL_ENGINE_SLEEP_H
#define CORRAL_ENGINE_SLEEP_H

#include "engine/engine_int.h"

void   sleep_begin(struct engine *en); /* nothing runs or waits */
status sleep_end(struct engine *en, struct error *e); /* after a failure it still sleeps */
void   sleep_forget(struct engine *en); /* what is kept in host memory */

#endif
