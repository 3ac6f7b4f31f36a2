/* Names of models as people write them. */
#ifndef CORRAL_BASE_MODEL_NAME_H
#define CORRAL_BASE_MODEL_NAME_H

#include <stdbool.h>

/* Whether two names mean one model: in any case of letters,
 * and ":latest" is the tag of a name without one. */
bool model_name_same(const char *a, const char *b);

#endif
