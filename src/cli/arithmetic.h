/* How fast this machine multiplies and adds: the ceiling that reading prompts is measured against. */
#ifndef CORRAL_CLI_ARITHMETIC_H
#define CORRAL_CLI_ARITHMETIC_H

#include "base/base.h"

/* Operations per second of all threads together, two for a product that is added; 0 where this program knows
 * no instruction for it. */
struct arithmetic {
    double bytes;  /* unsigned by signed bytes, in sums as wide as the instruction has them */
    double floats; /* fused multiply-add of float32 */
};
struct arithmetic arithmetic_measure(uint32_t n_thread);

#endif
