/* Numbers for people. */
#ifndef CORRAL_CLI_HUMAN_H
#define CORRAL_CLI_HUMAN_H

#include "base/buf.h"

struct human { char s[32]; };
struct human human_bytes(uint64_t n); /* "512 bytes", "1.13 MiB" */
struct human human_count(uint64_t n); /* "512", "260 thousand", "7.24 billion" */

struct human human_seconds(double s); /* "0.8 s", "1 min 20 s", "90 minutes", "3 hours", "2 days" */
struct human human_ago(int64_t ms);   /* of a time since 1970: "just now", "3 hours ago"; 0: "never" */

/* A string of any bytes on one line: JSON's escapes, at most max bytes of it, then "...". */
void human_string(struct buf *b, const char *s, size_t n, size_t max);

#endif
