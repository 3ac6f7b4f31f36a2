/* What those who may manage models may name. A reference or an option of a model can make this process open a
 * file of its machine, or connect to a host that its clients cannot reach themselves (a database, a cloud's
 * metadata service); over the network that is allowed only where an option says so. */
#ifndef CORRAL_GATEWAY_PERMIT_H
#define CORRAL_GATEWAY_PERMIT_H

#include <jansson.h>

#include "gateway/gateway_int.h"

/* False: why says what it is and which option would allow it. A name that DNS knows passes here; what it
 * turns out to be is looked at when the pull connects (pull_want.public_only). */
bool permit_pull(const struct gateway *g, bool trusted, const char *reference, char *why, size_t cap);
bool permit_options(const struct gateway *g, bool trusted, const json_t *options, char *why, size_t cap);

#endif
