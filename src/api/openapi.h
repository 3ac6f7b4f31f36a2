/* The document that names every path and field of the inference APIs; made from the tables of the families.
 */
#ifndef CORRAL_API_OPENAPI_H
#define CORRAL_API_OPENAPI_H

#include "base/buf.h"

void openapi_document(struct buf *out);

#endif
