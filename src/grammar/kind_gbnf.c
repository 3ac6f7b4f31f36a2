#include "grammar/grammar_int.h"
static void compile(struct build *b, struct grammar *g, const char *text, size_t n)
{
    build_fail(b, ERR_UNSUPPORTED, "gbnf");
}
const struct grammar_kind grammar_gbnf = {"gbnf", compile};
