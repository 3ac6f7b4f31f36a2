/* Numbers between exact decimal bounds, and multiples, as automata over their JSON text.
 *
 * While the digits of a number are read, each bound is followed by a comparison of digits: a longer integer
 * part is larger; of equal length, the first difference decides. Without bounds (other than zero) and
 * multiples an exponent may follow. */
#include "grammar/lang.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool decimal_parse(struct decimal *out, const char *p, size_t n)
{
    const char *end = p + n;
    size_t digits = 0;
    int scale = 0;
    bool point = false;
    *out = (struct decimal){0};
    if (p < end && *p == '-') {
        out->negative = true;
        p++;
    }
    for (; p < end && ((*p >= '0' && *p <= '9') || *p == '.'); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        scale += point;
        if (!digits && *p == '0') continue;
        if (digits + 1 >= sizeof out->digit) return false;
        out->digit[digits++] = *p;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        long x = strtol(p + 1, NULL, 10);
        if (x < -400 || x > 400) return false;
        scale -= (int)x;
    }
    while (digits && out->digit[digits - 1] == '0' && scale > 0) {
        out->digit[--digits] = 0;
        scale--;
    }
    while (digits && scale < 0) { /* write the zeros out */
        if (digits + 1 >= sizeof out->digit) return false;
        out->digit[digits++] = '0';
        scale++;
    }
    out->scale = digits ? scale : 0;
    if (!digits) out->negative = false;
    return true;
}

bool decimal_of(struct decimal *out, const json_t *v)
{
    char text[64];
    if (json_is_integer(v)) {
        snprintf(text, sizeof text, "%lld", (long long)json_integer_value(v));
    } else {
        double x = json_real_value(v);
        for (int digits = 1; digits <= 17; digits++) { /* the shortest that reads back */
            snprintf(text, sizeof text, "%.*e", digits - 1, x);
            if (strtod(text, NULL) == x) break;
        }
    }
    return decimal_parse(out, text, strlen(text));
}

bool decimal_is_integer(const struct decimal *a)
{
    return a->scale <= 0;
}

/* Digit at place 10^i of |a|. */
static int digit_at(const struct decimal *a, int i)
{
    int n = (int)strlen(a->digit), at = n - 1 - (i + a->scale);
    return at < 0 || at >= n ? 0 : a->digit[at] - '0';
}

static int cmp_size(const struct decimal *a, const struct decimal *b)
{
    int high = MAX((int)strlen(a->digit) - a->scale, (int)strlen(b->digit) - b->scale);
    for (int i = high; i >= -MAX(a->scale, b->scale); i--)
        if (digit_at(a, i) != digit_at(b, i)) return digit_at(a, i) < digit_at(b, i) ? -1 : 1;
    return 0;
}

int decimal_cmp(const struct decimal *a, const struct decimal *b)
{
    if (a->negative != b->negative) return a->negative ? -1 : 1;
    return a->negative ? -cmp_size(a, b) : cmp_size(a, b);
}

enum phase { P_START, P_MINUS, P_ZERO, P_INT, P_POINT, P_FRAC, P_E, P_ESIGN, P_EDIGIT };
enum { LOW, HIGH, MAX_MODULUS = 10000, MAX_SCALE = 30 };

/* A bound of the absolute value, in the digits of its integer and fractional parts. */
struct edge {
    bool set, open;
    char whole[40], part[72];
    int n_whole, n_part;
};
struct num {
    const struct num_spec *s;
    struct edge edge[2][2]; /* by sign, then low and high */
    bool possible[2];
    bool exponent[2];
    uint32_t modulus[NUM_MAX_MULTIPLES]; /* N * 10^scale must leave no rest */
    uint8_t scale[NUM_MAX_MULTIPLES];
};
struct num_state {
    uint8_t phase, negative, nonzero,
        fraction; /* nonzero: digits so far; fraction: a digit behind the point */
    int8_t cmp[2];
    uint8_t pos[2];
    uint8_t place;  /* fractional digits, at most the largest scale */
    uint8_t beyond; /* a non-zero digit beyond the scale of multiple i */
    uint16_t rest[NUM_MAX_MULTIPLES];
};

static void set_edge(struct edge *e, const struct num_bound *b)
{
    int n = (int)strlen(b->at.digit), whole = n - b->at.scale;
    *e = (struct edge){.set = true, .open = b->open};
    for (int i = whole - 1; i >= 0; i--) e->whole[e->n_whole++] = (char)('0' + digit_at(&b->at, i));
    for (int i = -1; i >= -b->at.scale; i--) e->part[e->n_part++] = (char)('0' + digit_at(&b->at, i));
}

static bool is_zero(const struct decimal *d)
{
    return !d->digit[0];
}

static void set_sides(struct num *n)
{
    const struct num_bound *lo = &n->s->lo, *hi = &n->s->hi;
    struct num_bound none = {0}, zero_open = {.set = true, .open = true};
    n->possible[0] = n->possible[1] = true;
    /* Not negative: lo <= x <= hi. Negative or -0: -hi <= |x| <= -lo. */
    const struct num_bound *side[2][2] = {{&none, &none}, {&none, &none}};
    if (lo->set) {
        if (!lo->at.negative) {
            side[0][LOW] = lo;
            if (!is_zero(&lo->at) || lo->open) n->possible[1] = false;
        }
        side[1][HIGH] = lo;
    }
    if (hi->set) {
        if (hi->at.negative || (is_zero(&hi->at) && hi->open)) n->possible[0] = false;
        side[0][HIGH] = hi;
        if (hi->at.negative) side[1][LOW] = hi;
        if (is_zero(&hi->at) && hi->open) side[1][LOW] = &zero_open;
    }
    for (int sign = 0; sign < 2; sign++) {
        for (int i = 0; i < 2; i++)
            if (side[sign][i]->set) set_edge(&n->edge[sign][i], side[sign][i]);
        const struct edge *low = &n->edge[sign][LOW];
        n->exponent[sign] = !n->s->integer && !n->s->fraction && !n->s->n_multiple &&
                            !n->edge[sign][HIGH].set && (!low->set || (!low->n_whole && !low->n_part));
    }
}

static void compare_whole(struct num_state *to, const struct num *n, int d)
{
    for (int i = 0; i < 2; i++) {
        const struct edge *e = &n->edge[to->negative][i];
        if (!e->set || to->pos[i] > e->n_whole) continue;
        int at = to->pos[i]++;
        if (at < e->n_whole && !to->cmp[i])
            to->cmp[i] = (int8_t)((d > e->whole[at] - '0') - (d < e->whole[at] - '0'));
    }
}

/* The comparison with edge i if the number ended here. */
static int compared(const struct num_state *s, const struct num *n, int i)
{
    const struct edge *e = &n->edge[s->negative][i];
    if (s->phase <= P_INT || s->phase == P_POINT)
        if (s->phase != P_POINT && s->pos[i] != e->n_whole) return s->pos[i] < e->n_whole ? -1 : 1;
    if (s->cmp[i]) return s->cmp[i];
    int at = s->phase == P_FRAC ? s->pos[i] : 0;
    return at < e->n_part ? -1 : 0;
}

static bool num_step(void *ctx, void *to_, const void *from_, uint8_t c)
{
    const struct num *n = ctx;
    const struct num_state *from = from_;
    struct num_state *to = to_;
    bool is_digit = c >= '0' && c <= '9';
    int d = c - '0';
    *to = *from;
    switch (from->phase) {
    case P_START:
        if (c == '-') {
            to->phase = P_MINUS;
            to->negative = 1;
            return n->possible[1];
        }
        if (!n->possible[0]) return false;
        /* fall through */
    case P_MINUS:
        if (!is_digit) return false;
        if (d == 0) {
            to->phase = P_ZERO;
            return !(n->s->integer && from->phase == P_MINUS);
        }
        to->phase = P_INT;
        break;
    case P_INT: break;
    default: break;
    }
    if (to->phase == P_INT && is_digit) {
        to->nonzero |= d != 0;
        compare_whole(to, n, d);
        for (uint32_t i = 0; i < n->s->n_multiple; i++)
            to->rest[i] = (uint16_t)((to->rest[i] * 10u + (uint32_t)d * 1u) % n->modulus[i]);
        return true;
    }
    switch (from->phase) {
    case P_ZERO:
    case P_INT:
        if (c == '.' && !n->s->integer) {
            for (int i = 0; i < 2; i++) {
                const struct edge *e = &n->edge[from->negative][i];
                if (!e->set) continue;
                if (from->pos[i] != e->n_whole) to->cmp[i] = from->pos[i] < e->n_whole ? -1 : 1;
                to->pos[i] = 0;
            }
            to->phase = P_POINT;
            return true;
        }
        break;
    case P_POINT:
    case P_FRAC:
        if (!is_digit) break;
        to->phase = P_FRAC;
        to->nonzero |= d != 0;
        to->fraction |= n->s->fraction && d != 0;
        for (int i = 0; i < 2; i++) {
            const struct edge *e = &n->edge[from->negative][i];
            if (!e->set || to->cmp[i]) continue;
            int want = to->pos[i] < e->n_part ? e->part[to->pos[i]] - '0' : 0;
            to->cmp[i] = (int8_t)((d > want) - (d < want));
            if (to->pos[i] < e->n_part) to->pos[i]++;
        }
        for (int i = 0; i < 2; i++)
            if (to->cmp[i]) to->pos[i] = 0;
        uint8_t deepest = 0;
        for (uint32_t i = 0; i < n->s->n_multiple; i++) {
            deepest = MAX(deepest, n->scale[i]);
            if (to->place < n->scale[i])
                to->rest[i] = (uint16_t)((to->rest[i] * 10u + (uint32_t)d) % n->modulus[i]);
            else if (d)
                to->beyond |= (uint8_t)(1u << i);
        }
        if (to->place < deepest) to->place++;
        return true;
    default: break;
    }
    if (c == 'e' || c == 'E') {
        if (from->phase != P_ZERO && from->phase != P_INT && from->phase != P_FRAC) return false;
        to->phase = P_E;
        return n->exponent[from->negative];
    }
    if (from->phase == P_E && (c == '+' || c == '-')) {
        to->phase = P_ESIGN;
        return true;
    }
    if (from->phase >= P_E && is_digit) {
        to->phase = P_EDIGIT;
        return true;
    }
    return false;
}

static bool is_multiple(const struct num *n, const struct num_state *s, uint32_t i)
{
    uint32_t rest = s->rest[i];
    if (s->beyond >> i & 1) return false;
    for (int k = s->phase == P_FRAC ? MIN(s->place, n->scale[i]) : 0; k < n->scale[i]; k++)
        rest = rest * 10 % n->modulus[i];
    return rest == 0;
}

static int32_t num_exit(void *ctx, const void *state)
{
    const struct num *n = ctx;
    const struct num_state *s = state;
    if (s->phase == P_EDIGIT) {
        const struct edge *low = &n->edge[s->negative][LOW];
        return low->set && low->open && !s->nonzero ? -1 : 0;
    }
    if (s->phase != P_ZERO && s->phase != P_INT && s->phase != P_FRAC) return -1;
    if (n->s->fraction && !s->fraction) return -1;
    for (int i = 0; i < 2; i++) {
        const struct edge *e = &n->edge[s->negative][i];
        if (!e->set) continue;
        int c = compared(s, n, i);
        if (c == 0 ? e->open : (c < 0) == (i == LOW)) return -1;
    }
    for (uint32_t i = 0; i < n->s->n_multiple; i++)
        if (is_multiple(n, s, i) == n->s->not_multiple[i]) return -1;
    return 0;
}

struct dfa *num_dfa(struct build *b, const struct num_spec *s, const char *where)
{
    struct num n = {.s = s};
    struct num_state start = {0};
    set_sides(&n);
    for (uint32_t i = 0; i < s->n_multiple; i++) {
        const struct decimal *m = &s->multiple[i];
        uint64_t modulus = strtoull(m->digit, NULL, 10);
        if (!modulus || strlen(m->digit) > 18 || modulus > MAX_MODULUS || m->scale < 0 ||
            m->scale > MAX_SCALE)
            build_fail(b, ERR_UNSUPPORTED, "%s: multipleOf with more than %d residues is not supported",
                       where, MAX_MODULUS);
        n.modulus[i] = (uint32_t)modulus;
        n.scale[i] = (uint8_t)m->scale;
    }
    return dfa_explore(b, &start, sizeof start, num_step, num_exit, &n, 128);
}

/* v / m is an integer: long division of the digits of v * 10^(scale of m) by m's. */
static bool divides(const struct decimal *m, const struct decimal *v)
{
    uint64_t by = strtoull(m->digit, NULL, 10), rest = 0;
    if (!by || strlen(m->digit) > 18) return false;
    for (int i = (int)strlen(v->digit) - v->scale; i >= -MAX(m->scale, 0); i--)
        rest = (uint64_t)(((unsigned __int128)rest * 10 + (unsigned)digit_at(v, i)) % by);
    return rest == 0 && v->scale <= MAX(m->scale, 0);
}

bool num_has(const struct num_spec *s, const struct decimal *v)
{
    if ((s->integer && !decimal_is_integer(v)) || (s->fraction && decimal_is_integer(v))) return false;
    if (s->lo.set) {
        int c = decimal_cmp(v, &s->lo.at);
        if (c < 0 || (c == 0 && s->lo.open)) return false;
    }
    if (s->hi.set) {
        int c = decimal_cmp(v, &s->hi.at);
        if (c > 0 || (c == 0 && s->hi.open)) return false;
    }
    for (uint32_t i = 0; i < s->n_multiple; i++)
        if (divides(&s->multiple[i], v) == s->not_multiple[i]) return false;
    return true;
}
