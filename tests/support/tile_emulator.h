/* AMX for processors without it: what traps as an unknown instruction is decoded and carried out here. A
 * test that calls tiles_emulate() then runs code for AMX as it was compiled, on any x86-64 Linux. As much
 * as products of bytes need: LDTILECFG, TILERELEASE, TILEZERO, TILELOADD, TILESTORED, TDPBSUD (Intel SDM
 * vol. 2). What the processor would fault at ends the program with a line that says why. */
#ifndef CORRAL_TILE_EMULATOR_H
#define CORRAL_TILE_EMULATOR_H

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

enum { N_TILE = 8, TILE_ROWS = 16, TILE_BYTES = 64 };
struct tile { uint16_t row_bytes; uint8_t n_row, byte[TILE_ROWS][TILE_BYTES]; };
static _Thread_local struct tile tile[N_TILE];
static _Thread_local int tiles_configured;
static _Thread_local unsigned long tile_products; /* so far */

static void tile_fault(const char *why)
{
    static const char line[] = "tile emulator: ";
    if (write(2, line, sizeof line - 1) < 0 || write(2, why, strlen(why)) < 0 || write(2, "\n", 1) < 0)
        _exit(1);
    abort();
}

/* A tile that an instruction uses: of all numbers those of a shape are allowed. */
static struct tile *tile_used(unsigned t)
{
    if (!tiles_configured) tile_fault("no configuration");
    if (t >= N_TILE || !tile[t].n_row || !tile[t].row_bytes) tile_fault("a tile without a shape");
    return &tile[t];
}

static void tile_load_shapes(const uint8_t c[64])
{
    memset(tile, 0, sizeof tile);
    tiles_configured = 0;
    if (c[0] == 0) return;
    if (c[0] != 1) tile_fault("a palette that there is not");
    for (int i = 1; i < 16; i++)
        if (c[i]) tile_fault("a configuration with reserved bits");
    for (int i = 0; i < 16; i++) {
        uint16_t row_bytes;
        memcpy(&row_bytes, c + 16 + 2 * i, 2);
        const uint8_t n_row = c[48 + i];
        if (row_bytes > TILE_BYTES || n_row > TILE_ROWS || !row_bytes != !n_row || (i >= N_TILE && n_row))
            tile_fault("a shape that is not possible");
        if (i < N_TILE) tile[i] = (struct tile){.row_bytes = row_bytes, .n_row = n_row};
    }
    tiles_configured = 1;
}

static void tile_from_memory(unsigned t, const uint8_t *from, int64_t apart)
{
    struct tile *to = tile_used(t);
    memset(to->byte, 0, sizeof to->byte);
    for (int r = 0; r < to->n_row; r++) memcpy(to->byte[r], from + r * apart, to->row_bytes);
}

static void tile_to_memory(unsigned t, uint8_t *to, int64_t apart)
{
    const struct tile *from = tile_used(t);
    for (int r = 0; r < from->n_row; r++) memcpy(to + r * apart, from->byte[r], from->row_bytes);
}

/* sums[i][j] += signed bytes of a's row i times unsigned ones of column j of b: its words, each of four
 * inputs */
static void tile_add_signed_unsigned(unsigned sums, unsigned of_a, unsigned of_b)
{
    struct tile *c = tile_used(sums), *a = tile_used(of_a), *b = tile_used(of_b);
    if (c == a || c == b || a == b) tile_fault("a product with one tile in two places");
    if (c->n_row != a->n_row || c->row_bytes != b->row_bytes || a->row_bytes != 4 * b->n_row ||
        b->row_bytes % 4)
        tile_fault("a product of shapes that do not fit");
    for (int i = 0; i < c->n_row; i++) {
        uint32_t sum[TILE_BYTES / 4];
        memcpy(sum, c->byte[i], sizeof sum);
        for (int k = 0; k < a->row_bytes; k++)
            for (int j = 0; j < c->row_bytes / 4; j++)
                sum[j] += (uint32_t)((int8_t)a->byte[i][k] * b->byte[k / 4][4 * j + k % 4]);
        memcpy(c->byte[i], sum, sizeof sum);
    }
    tile_products++;
}

/* The integer registers by their numbers in instructions. */
static uint64_t tile_register(const greg_t *g, unsigned n)
{
    static const uint8_t at[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                   REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)g[at[n]];
}

/* Where an operand in memory lies, and how far its rows are apart; *p: at ModRM, afterwards behind the
 * operand. */
static uint8_t *tile_operand(const greg_t *g, const uint8_t **p, unsigned index_high, unsigned base_high,
                             int64_t *apart)
{
    const unsigned mod = **p >> 6, rm = *(*p)++ & 7;
    unsigned base = rm;
    uint64_t at = 0;
    *apart = 0;
    if (rm == 4) { /* SIB */
        const unsigned sib = *(*p)++, index = index_high | (sib >> 3 & 7);
        base = sib & 7;
        if (index != 4) *apart = (int64_t)(tile_register(g, index) << (sib >> 6));
    }
    const int bare = mod == 0 && base == 5; /* no register; without SIB, from the next instruction on */
    if (!bare) at = tile_register(g, base_high | base);
    if (mod == 1) at += (uint64_t)(int8_t)*(*p)++;
    if (mod == 2 || bare) {
        int32_t far;
        memcpy(&far, *p, 4);
        *p += 4;
        at += (uint64_t)(int64_t)far;
    }
    if (bare && rm != 4) at += (uint64_t)(uintptr_t)*p;
    return (uint8_t *)(uintptr_t)at; /* NOLINT: an address is what it is */
}

static void tile_trap(int signal_number, siginfo_t *info, void *context)
{
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *in = (const uint8_t *)(uintptr_t)g[REG_RIP], *p = in + 4;
    (void)signal_number, (void)info;
    /* VEX of three bytes, map 0F38, W0, 128 bits */
    if (in[0] != 0xC4 || (in[1] & 0x1F) != 2 || (in[2] & 0x84)) tile_fault("an unknown instruction");
    const unsigned reg = (in[1] & 0x80 ? 0 : 8) | (*p >> 3 & 7), index_high = in[1] & 0x40 ? 0 : 8;
    const unsigned rm_high = in[1] & 0x20 ? 0 : 8, prefix = in[2] & 3, v = ~in[2] >> 3 & 15;
    const int in_memory = *p >> 6 != 3, sib = (*p & 7) == 4;
    const struct { unsigned op, prefix; } is = {in[3], prefix};
    enum { NONE, P66, F3, F2 };
    int64_t apart;

    if (is.op == 0x49 && is.prefix == NONE && in_memory && reg == 0 && v == 0) { /* LDTILECFG */
        tile_load_shapes(tile_operand(g, &p, index_high, rm_high, &apart));
    } else if (is.op == 0x49 && is.prefix == NONE && *p == 0xC0 && v == 0) { /* TILERELEASE */
        memset(tile, 0, sizeof tile);
        tiles_configured = 0;
        p++;
    } else if (is.op == 0x49 && is.prefix == F2 && !in_memory && (*p & 7) == 0 && v == 0) { /* TILEZERO */
        memset(tile_used(reg)->byte, 0, sizeof tile->byte);
        p++;
    } else if (is.op == 0x4B && is.prefix == F2 && in_memory && sib && v == 0) { /* TILELOADD */
        const uint8_t *from = tile_operand(g, &p, index_high, rm_high, &apart);
        tile_from_memory(reg, from, apart);
    } else if (is.op == 0x4B && is.prefix == F3 && in_memory && sib && v == 0) { /* TILESTORED */
        uint8_t *to = tile_operand(g, &p, index_high, rm_high, &apart);
        tile_to_memory(reg, to, apart);
    } else if (is.op == 0x5E && is.prefix == F3 && !in_memory) { /* TDPBSUD: reg += rm times v */
        tile_add_signed_unsigned(reg, rm_high | (*p & 7), v);
        p++;
    } else {
        tile_fault("an instruction that it does not know");
    }
    g[REG_RIP] = (greg_t)(uintptr_t)p;
}

static void tiles_emulate(void)
{
    struct sigaction a = {.sa_sigaction = tile_trap, .sa_flags = SA_SIGINFO};
    sigemptyset(&a.sa_mask);
    sigaction(SIGILL, &a, NULL);
}

#endif
