/* best_of: more choices are generated than asked for, and the best are sent when all have ended. It stands
 * between the engine and the request's callback. Private to src/engine. */
#ifndef CORRAL_ENGINE_BEST_OF_H
#define CORRAL_ENGINE_BEST_OF_H

#include "engine/engine.h"

struct best_of;
/* Changes r so that r->best_of choices are made and their events collected;
 * r->n of them will reach its callback. */
struct best_of *best_of_new(struct engine *en, struct engine_request *r);
/* Before a choice can end. */
void best_of_set_id(struct best_of *b, uint64_t id);
void best_of_free(struct best_of *b); /* NULL is fine. After the last END it frees itself */

#endif
