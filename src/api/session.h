/* Conversations that the server remembers for clients that do not: messages under a name, for an hour after
 * their last use. In memory and bounded: in number (the one not used for longest goes first) and in bytes
 * (the oldest messages go first).
 *
 * Any thread may call these. Names of one tenant (API key) mean nothing to another. */
#ifndef CORRAL_API_SESSION_H
#define CORRAL_API_SESSION_H

#include <jansson.h>

#include "base/base.h"

struct sessions;
struct recall;

struct sessions_options { /* zeros are fine */
    struct recall *kept;        /* borrowed: they are there, and the times and numbers are its own;
                                 * NULL: in memory */
    uint32_t max_sessions;      /* 1024 */
    size_t   max_session_bytes; /* 256 KiB, of all messages of one as JSON */
    int64_t  ttl_ns;            /* 1 h */
    int64_t (*now_ns)(void);    /* monotonic; for tests */
};

struct sessions *sessions_new(const struct sessions_options *o); /* NULL: all defaults */
void sessions_free(struct sessions *s);                          /* NULL is fine */
/* A copy of what is remembered, oldest first; an empty array when there is nothing. The caller owns it. */
json_t *sessions_get(struct sessions *s, uint64_t tenant, const char *name);
/* Append copies of messages (an array). */
void sessions_add(struct sessions *s, uint64_t tenant, const char *name, const json_t *messages);
bool sessions_drop(struct sessions *s, uint64_t tenant, const char *name); /* false: there was none */
uint32_t sessions_count(struct sessions *s);

/* What a conversation of remembered and new messages is made of: system messages of the new ones, or if they
 * have none those that are remembered; then the last `max` others, from a user's on. The caller owns it. */
json_t *sessions_join(const json_t *remembered, const json_t *new_messages, size_t max);

#endif
