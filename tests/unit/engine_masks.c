/* Masks beside the step: every mask is that of its own state, however many there are and whoever computes
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/masks.h"

#include <cmocka.h>

enum { N_VOCAB = 1000 };

struct state {
    uint32_t token; /* the only one that may come */
    long slow_us;
    atomic_uint asked;
};

static void mask_one(void *at, uint32_t *bits)
{
    struct state *s = at;
    struct timespec t = {.tv_nsec = s->slow_us * 1000};
    atomic_fetch_add(&s->asked, 1);
    if (s->slow_us) nanosleep(&t, NULL);
    bits[s->token / 32] |= 1u << (s->token % 32);
}

static void assert_only(const uint32_t *bits, uint32_t token)
{
    for (uint32_t i = 0; i < N_VOCAB; i++) assert_int_equal(bits[i / 32] >> (i % 32) & 1, i == token);
}

static void each_gets_its_own(void **unused)
{
    static const uint32_t round[] = {1, 0, 7, 64, 3, 200, 1};
    struct masks *m = masks_new(N_VOCAB);
    struct state state[200] = {0};
    struct mask_source src[200];
    for (uint32_t r = 0; r < COUNT_OF(round); r++) {
        uint32_t n = round[r];
        for (uint32_t i = 0; i < n; i++) {
            state[i].token = (i * 37 + r) % N_VOCAB;
            state[i].slow_us = r % 2 && i % 8 == 0 ? 200 : 0;
            state[i].asked = 0;
            src[i] = (struct mask_source){.mask = mask_one, .state = &state[i]};
        }
        masks_begin(m, src, n);
        memset(src, 0, sizeof src); /* it has its own copy */
        masks_end(m);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(state[i].asked, 1);
            assert_only(masks_at(m, i), state[i].token);
        }
        /* One more in between does not disturb them. */
        struct state other = {.token = 999};
        assert_only(masks_now(m, &(struct mask_source){.mask = mask_one, .state = &other}), 999);
        if (n) assert_only(masks_at(m, n - 1), state[n - 1].token);
    }
    masks_free(m);
}

static void unused_costs_nothing(void **unused)
{
    struct masks *m = masks_new(N_VOCAB);
    masks_end(m);
    masks_begin(m, NULL, 0);
    masks_end(m);
    masks_free(m);
    masks_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_gets_its_own),
        cmocka_unit_test(unused_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
