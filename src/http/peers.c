/* How many connections (of clients that a proxy names, requests) each address has: a chained table behind a
 * mutex, touched once when one comes and once when it goes. An IPv6 client owns a /64, so that much of its
 * address counts. */
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "http/http_int.h"

enum { BUCKETS = 4096 };

struct entry {
    struct entry *next;
    unsigned char address[16];
    uint32_t n;
};
struct peers {
    pthread_mutex_t lock;
    uint32_t limit;
    uint64_t key; /* so that nobody can choose addresses that fall together */
    struct entry *bucket[BUCKETS];
};

struct peers *peers_new(uint32_t limit)
{
    struct peers *p = mem_zalloc(1, sizeof *p);
    pthread_mutex_init(&p->lock, NULL);
    p->limit = limit;
    p->key = rng_seed_from_os();
    return p;
}

void peers_free(struct peers *p)
{
    if (!p) return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct entry *e = p->bucket[i], *next; e; e = next) {
            next = e->next;
            free(e);
        }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static struct entry **find(struct peers *p, const unsigned char address[16])
{
    uint32_t word[4], out[4], key[2] = {(uint32_t)p->key, (uint32_t)(p->key >> 32)};
    memcpy(word, address, 16);
    rng_philox(out, word, key);
    struct entry **at = &p->bucket[out[0] % BUCKETS];
    while (*at && memcmp((*at)->address, address, 16) != 0) at = &(*at)->next;
    return at;
}

bool peers_enter(struct peers *p, struct peer *who, const unsigned char *address)
{
    struct in6_addr v6;
    *who = (struct peer){.counted = false};
    if (!p) return true;
    memcpy(&v6, address, 16);
    memcpy(who->address, address, IN6_IS_ADDR_V4MAPPED(&v6) ? 16 : 8);
    pthread_mutex_lock(&p->lock);
    struct entry **at = find(p, who->address);
    if (!*at) {
        *at = mem_zalloc(1, sizeof **at);
        memcpy((*at)->address, who->address, 16);
    }
    who->counted = (*at)->n < p->limit;
    (*at)->n += who->counted;
    pthread_mutex_unlock(&p->lock);
    return who->counted;
}

void peers_leave(struct peers *p, const struct peer *who)
{
    if (!p || !who->counted) return;
    pthread_mutex_lock(&p->lock);
    struct entry **at = find(p, who->address), *e = *at;
    if (e && --e->n == 0) {
        *at = e->next;
        free(e);
    }
    pthread_mutex_unlock(&p->lock);
}
