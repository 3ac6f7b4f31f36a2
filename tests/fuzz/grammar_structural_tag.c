/* Structural tags from anywhere: compiling ends with a grammar or a reason, and what a grammar accepts on a
 * drunken walk can always go on or end. The seeds in fuzz/corpus/grammar_structural_tag are of our own. */
#include "support/grammar_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    return grammar_walk("structural_tag", (const char *)data, n);
}
