/* Barriers that count bytes, copies of boxes and products of warpgroups for the simulator. */
#include "backend/gpu/dev/hopper.h"

struct mbar { int16_t need, left; int32_t bytes : 31; uint32_t phase : 1; };
static_assert(sizeof(struct mbar) == sizeof(uint64_t), "as on the device");

static struct mbar *barrier(uint64_t *p)
{
    struct mbar *b = (struct mbar *)p;
    if (b->need <= 0 || (uintptr_t)p % 8) sim_die("mbarrier: not initialised");
    return b;
}

static void advance(struct mbar *b)
{
    if (b->left != 0 || b->bytes != 0) return;
    b->left = b->need;
    b->phase ^= 1;
    sim_event();
}

void dev_mbar_init(uint64_t *p, int n)
{
    struct mbar *b = (struct mbar *)p;
    b->need = b->left = (int16_t)n;
    b->bytes = 0;
    b->phase = 0;
}

void dev_mbar_arrive(uint64_t *p)
{
    struct mbar *b = barrier(p);
    if (--b->left < 0) sim_die("mbarrier: too many arrivals");
    advance(b);
}

void dev_mbar_expect(uint64_t *p, int bytes)
{
    barrier(p)->bytes += bytes;
    dev_mbar_arrive(p);
}

void sim_mbar_wait(uint64_t *p, int parity, const char *where, int line)
{
    const struct mbar *b = barrier(p);
    while (b->phase == (unsigned)parity) sim_wait_event(where, line);
}

/* --- copies of boxes --- */

struct box { char *to; struct dev_tensor_map m; int x, y; uint64_t *bar; struct box *next; };
static struct box *under_way, **last = &under_way;

/* Bits 4 to 6 of an address in dynamic memory are mixed with bits 7 to 9: the 128-byte swizzle. */
static char *swizzled(size_t at)
{
    if (at + 1 >= sim.dyn_bytes) sim_die("beyond the dynamic shared memory");
    return sim.block->dyn + (at ^ (at >> 7 & 7) << 4);
}

static size_t place(const void *p)
{
    const size_t at = (size_t)((const char *)p - sim.block->dyn);
    if (at >= sim.dyn_bytes) sim_die("a tile is not in dynamic shared memory");
    return at;
}

static void land(const struct box *c)
{
    const size_t to = place(c->to);
    if (to % 1024) sim_die("a box does not begin at a multiple of 1024 bytes");
    for (uint32_t r = 0; r < c->m.box_rows; r++)
        for (uint32_t k = 0; k < HOPPER_ROW; k++) {
            const uint32_t y = (uint32_t)c->y + r, x = (uint32_t)c->x + k;
            uint16_t v = 0; /* outside of the matrix */
            if (y < c->m.rows && x < c->m.cols) v = c->m.p[(size_t)y * c->m.ld + x];
            memcpy(swizzled(to + (r * HOPPER_ROW + k) * 2), &v, sizeof v);
        }
    struct mbar *b = barrier(c->bar);
    b->bytes -= (int)(c->m.box_rows * HOPPER_ROW * 2);
    if (b->bytes < 0) sim_die("mbarrier: more bytes than were announced");
    advance(b);
}

bool sim_box_lands(void)
{
    struct box *c = under_way;
    if (!c) return false;
    under_way = c->next;
    if (!under_way) last = &under_way;
    land(c);
    free(c);
    return true;
}

void dev_tma_load(void *to, const dev_tensor_map *m, int x, int y, uint64_t *bar)
{
    struct box *c = (struct box *)malloc(sizeof *c);
    if (!c) sim_die("no memory for a copy");
    *c = {(char *)to, *m, x, y, bar, NULL};
    memset(to, 0xff, m->box_rows * HOPPER_ROW * 2);
    *last = c;
    last = &c->next;
    if (!sim.late) sim_box_lands();
}

bool dev_tensor_map_init(struct dev_tensor_map *m, const uint16_t *p, uint32_t rows, uint32_t cols, uint32_t ld,
                         uint32_t box_rows)
{
    *m = {p, rows, cols, ld, box_rows};
    return (uintptr_t)p % 16 == 0 && ld % 8 == 0 && box_rows <= 256; /* what a device asks for */
}

/* --- products of warpgroups --- */

enum { GROUP = 128, N_GROUP = SIM_MAX_THREADS / GROUP, MOST_N = 256 };
struct product { uint64_t a, b; int kind, group; float *d[GROUP]; const uint32_t *regs[GROUP]; struct product *next; };
static struct product *queued[N_GROUP];

static uint64_t descriptor(const void *p, uint64_t leading)
{
    return ((uint64_t)place(p) & 0x3ffff) >> 4 | leading << 16 | 64ull << 32 | 1ull << 62;
}
uint64_t dev_wgmma_tile(const void *p) { return descriptor(p, 1); }
uint64_t dev_wgmma_rows(const void *p, int apart) { return descriptor(p, (uint64_t)(apart >> 4)); }

static float number(uint16_t v, int kind) { return kind & SIM_WGMMA_F16 ? dev_f16_to_f32(v) : __uint_as_float((uint32_t)v << 16); }

/* rows of 16 numbers, as the descriptor says where they are; ROWS: as columns of 16 rows */
static void gather(float (*to)[16], int rows, uint64_t tile, int kind)
{
    const size_t at = (tile & 0x3fff) << 4, leading = (tile >> 16 & 0x3fff) << 4, stride = (tile >> 32 & 0x3fff) << 4;
    for (int r = 0; r < rows; r++)
        for (int k = 0; k < 16; k++) {
            const size_t tiled = kind & SIM_WGMMA_ROWS
                ? (size_t)(r / 64) * leading + (size_t)(k / 8) * stride + (size_t)(k % 8) * 128 + (size_t)(r % 64) * 2
                : (size_t)(r / 8) * stride + (size_t)(r % 8) * 128 + (size_t)k * 2;
            uint16_t v;
            memcpy(&v, swizzled(at + tiled), sizeof v);
            to[r][k] = number(v, kind);
        }
}

/* the first factor from the lanes' registers, as dev_mma_f16 takes it */
static void gather_registers(float (*to)[16], const uint32_t *const *regs, int kind)
{
    for (int t = 0; t < GROUP; t++)
        for (int i = 0; i < 8; i++) {
            const int row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, col = t % 4 * 2 + i / 4 * 8 + i % 2;
            to[row][col] = number((uint16_t)(regs[t][i / 2] >> 16 * (i % 2)), kind);
        }
}

static void multiply(const struct product *p)
{
    static float a[64][16], b[MOST_N][16];
    const int n = p->kind & SIM_WGMMA_N;
    if (p->regs[0])
        gather_registers(a, p->regs, p->kind);
    else
        gather(a, 64, p->a, p->kind & ~SIM_WGMMA_ROWS);
    gather(b, n, p->b, p->kind);
    for (int t = 0; t < GROUP; t++) {
        const int lane = t % 32;
        for (int i = 0; i < n / 2; i++) {
            const int row = t / 32 * 16 + lane / 4 + 8 * (i % 4 / 2), col = i / 4 * 8 + lane % 4 * 2 + i % 2;
            float sum = p->kind & SIM_WGMMA_NEW ? 0 : p->d[t][i];
            for (int k = 0; k < 16; k++) sum += a[row][k] * b[col][k];
            p->d[t][i] = sum;
        }
    }
}

static void run_up_to(struct sim_fiber *f, int group)
{
    struct product **q = &queued[f->warp / 4];
    while (*q && (*q)->group <= group) {
        struct product *p = *q;
        *q = p->next;
        multiply(p);
        free(p);
    }
}

static void enqueue(struct sim_fiber *f)
{
    struct product **q = &queued[f->warp / 4], *p = (struct product *)calloc(1, sizeof *p);
    if (!p) sim_die("no memory for a product");
    p->a = f->in, p->b = f->out, p->kind = f->src, p->group = f->wgmma_group;
    for (int t = 0; t < GROUP; t++) {
        if (f[t].in != p->a || f[t].out != p->b || f[t].src != p->kind || f[t].wgmma_group != p->group)
            sim_die("wgmma: the threads of a warpgroup do not agree");
        p->d[t] = (float *)f[t].c;
        p->regs[t] = (const uint32_t *)f[t].a;
    }
    while (*q) q = &(*q)->next;
    *q = p;
    if (!sim.late) run_up_to(f, p->group);
}

void sim_wgmma(float *d, uint64_t a, const uint32_t *regs, uint64_t b, int kind, const char *where, int line)
{
    sim.cur->in = a, sim.cur->out = b, sim.cur->c = d, sim.cur->a = regs, sim.cur->src = kind;
    sim_group(enqueue, where, line);
}

static void waited(struct sim_fiber *f) { run_up_to(f, f->wgmma_group - 1 - f->src); }

void sim_wgmma_wait(int n, const char *where, int line)
{
    sim.cur->src = n;
    sim_group(waited, where, line);
}

void sim_block_ends(void)
{
    if (under_way) sim_die("a block ends before its copies have come");
    for (int i = 0; i < N_GROUP; i++)
        if (queued[i]) sim_die("a block ends before its products are done");
}
