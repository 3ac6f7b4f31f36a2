/* Runs a fuzz target without libFuzzer: over files and folders given as arguments, and, with --mutate N, over
 * N mutations of them from a fixed seed. So a machine with any compiler still fuzzes, the same way each time.
 *
 *   fuzz_format_gguf [--mutate N] PATH...
 *
 * When a mutation crashes, its number is the last that `--mutate N` needs to reach it again. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX_FILE = 64 << 20, MAX_MUTATED = 1 << 20, MAX_SEEDS = 4096 };

static struct buf seed[MAX_SEEDS];
static size_t n_seed;

/* A copy of the exact size: a sanitizer then sees one byte read too far. */
static void run(const char *p, size_t n)
{
    uint8_t *copy = mem_alloc(n);
    if (n) memcpy(copy, p, n);
    LLVMFuzzerTestOneInput(copy, n);
    free(copy);
}

static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) {
        struct buf b = {.max = MAX_FILE};
        struct error e;
        if (buf_read_file(&b, path, &e) != OK) {
            fprintf(stderr, "%s\n", e.msg);
            buf_deinit(&b);
            return 1;
        }
        run(b.data, b.n);
        if (b.n <= MAX_MUTATED && n_seed < MAX_SEEDS)
            seed[n_seed++] = b;
        else
            buf_deinit(&b);
        return 0;
    }
    struct dirent **entry; /* sorted: the same seeds in the same order everywhere */
    int n = scandir(path, &entry, NULL, alphasort), failed = n < 0;
    for (int i = 0; i < n; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%s", path, entry[i]->d_name);
        if (entry[i]->d_name[0] != '.') failed |= replay(name);
        free(entry[i]);
    }
    if (n >= 0) free(entry);
    return failed;
}

/* --- mutations --- */

struct dice {
    uint64_t round, lane;
};

static uint64_t roll(struct dice *d, uint64_t n)
{
    uint32_t out[4], lane = (uint32_t)d->lane++;
    const uint32_t counter[4] = {(uint32_t)d->round, lane, 0, 0}, key[2] = {0x636f7272, 0x616c};
    rng_philox(out, counter, key);
    return n ? ((uint64_t)out[0] << 32 | out[1]) % n : 0;
}

static uint64_t edge_number(struct dice *d)
{
    static const uint64_t edge[] = {0,
                                    1,
                                    2,
                                    3,
                                    4,
                                    31,
                                    32,
                                    33,
                                    127,
                                    128,
                                    255,
                                    256,
                                    65535,
                                    65536,
                                    0x7fffffff,
                                    0x80000000,
                                    0xffffffff,
                                    1ull << 32,
                                    1ull << 62,
                                    0x7fffffffffffffff,
                                    1ull << 63,
                                    UINT64_MAX,
                                    UINT64_MAX - 7};
    return edge[roll(d, COUNT_OF(edge))] + roll(d, 3) - 1;
}

static void insert(struct buf *b, size_t at, const char *p, size_t n)
{
    char *end = buf_room(b, n);
    if (!end) return;
    memmove(b->data + at + n, b->data + at, b->n - at);
    memcpy(b->data + at, p, n);
    b->n += n;
}

static void erase(struct buf *b, size_t at, size_t n)
{
    memmove(b->data + at, b->data + at + n, b->n - at - n);
    b->n -= n;
}

static void overwrite(struct buf *b, size_t at, uint64_t v, size_t width)
{
    for (size_t i = 0; i < width && at + i < b->n; i++) b->data[at + i] = (char)(v >> 8 * i);
}

static void mutate_once(struct buf *b, struct dice *d)
{
    char byte = (char)roll(d, 256);
    const struct buf *other = &seed[roll(d, n_seed)];
    size_t at = (size_t)roll(d, b->n), from = (size_t)roll(d, other->n);
    if (b->n == 0) {
        buf_addc(b, byte);
        return;
    }
    size_t span = 1 + (size_t)roll(d, MIN(b->n - at, (size_t)64));
    switch (roll(d, 8)) {
    case 0: b->data[at] ^= (char)(1 << roll(d, 8)); break;
    case 1: b->data[at] = byte; break;
    case 2: overwrite(b, at, edge_number(d), (size_t)1 << roll(d, 4)); break;
    case 3: erase(b, at, span); break;
    case 4: insert(b, at, &byte, 1); break;
    case 5: b->n = at; break;
    case 6: overwrite(b, at, roll(d, 64), 1 + 7 * roll(d, 2)); break;
    default: /* a piece of another seed */
        span = 1 + (size_t)roll(d, 64);
        if (other->n && b->n < MAX_MUTATED) insert(b, at, other->data + from, MIN(other->n - from, span));
    }
}

static void mutate(uint64_t rounds)
{
    struct buf b = {0};
    if (rounds && n_seed == 0) n_seed = 1; /* one empty input */
    for (uint64_t i = 0; i < rounds; i++) {
        struct dice d = {.round = i};
        const struct buf *from = &seed[roll(&d, n_seed)];
        buf_reset(&b);
        if (from->n) buf_add(&b, from->data, from->n);
        for (uint64_t k = 1 + roll(&d, 4); k > 0; k--) mutate_once(&b, &d);
        run(b.data, b.n);
    }
    buf_deinit(&b);
}

int main(int argc, char **argv)
{
    int failed = 0, i = 1;
    uint64_t rounds = 0;
    if (argc > 2 && strcmp(argv[1], "--mutate") == 0) {
        rounds = strtoull(argv[2], NULL, 10);
        i = 3;
    }
    for (; i < argc; i++) failed |= replay(argv[i]);
    mutate(rounds);
    printf("%zu inputs, %llu mutations\n", n_seed, (unsigned long long)rounds);
    for (size_t k = 0; k < n_seed; k++) buf_deinit(&seed[k]);
    return failed;
}
