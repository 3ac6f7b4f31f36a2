/* The numbers of the data types, and the code books of the IQ formats, as device code sees them. */
#ifndef CORRAL_GPU_TYPES_H
#define CORRAL_GPU_TYPES_H

#include "backend/gpu/dev/dev.h"

#define _Noreturn [[noreturn]] /* base.h is C */
extern "C" {
#include "tensor/dtype.h"
}
#undef _Noreturn

#endif
