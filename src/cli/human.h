/* Numbers for people. */
#ifndef CORRAL_CLI_HUMAN_H
#define CORRAL_CLI_HUMAN_H

#include "base/buf.h"

struct human { char s[32]; };
struct human human_bytes(uint64_t n); /* "512 bytes", "1.13 MiB" */
struct human human_count(uint64_t n); /* "512", "260 thousand", "7.24 billion" */

/* A string of any bytes on one line: JSON's escapes, at most max bytes of it, then "...". */
void human_string(struct buf *b, const char *s, size_t n, size_t max);

#endif
