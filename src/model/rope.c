/* RoPE variants as tables of inverse frequencies.
 *
 * Sources: Su et al., RoFormer, 2021 (base); Chen et al., 2023 (linear position interpolation);
 * Peng et al., "YaRN", 2023, section 3.4; Meta's Llama 3.1 factors and Phi-3's long/short factors come in the
 * file as one divisor per pair. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/arch.h"

struct scaling {
    bool yarn;
    float factor; /* >= 1 stretches positions */
    uint32_t orig_context;
    float attn_factor, beta_fast, beta_slow;
};

static bool str_is(struct gguf_str s, const char *lit)
{
    return s.n == strlen(lit) && !memcmp(s.p, lit, s.n);
}

static status scaling_read(const struct arch_build *b, struct scaling *s, struct error *e)
{
    struct gguf_str type = {0};
    float factor = 0;
    *s = (struct scaling){.factor = 1,
                          .orig_context = b->d->cfg.n_ctx_train,
                          .attn_factor = 1,
                          .beta_fast = 32,
                          .beta_slow = 1};
    TRY(arch_str(b, "rope.scaling.type", &type, e));
    TRY(arch_f32(b, "rope.scaling.factor", false, &factor, e));
    if (factor == 0) TRY(arch_f32(b, "rope.scale_linear", false, &factor, e));
    TRY(arch_u32(b, "rope.scaling.original_context_length", false, &s->orig_context, e));
    TRY(arch_f32(b, "rope.scaling.attn_factor", false, &s->attn_factor, e));
    TRY(arch_f32(b, "rope.scaling.yarn_beta_fast", false, &s->beta_fast, e));
    TRY(arch_f32(b, "rope.scaling.yarn_beta_slow", false, &s->beta_slow, e));
    if (type.n == 0 || str_is(type, "linear")) {
        s->factor = factor ? factor : 1;
    } else if (str_is(type, "yarn")) {
        s->factor = factor ? factor : 1;
        s->yarn = true;
    } else if (!str_is(type, "none") && !str_is(type, "longrope")) {
        return fail(e, ERR_UNSUPPORTED,
                    "RoPE scaling type %.*s is not supported (none, linear, yarn, longrope are)",
                    (int)MIN(type.n, 40), type.p);
    }
    if (!(s->factor > 0) || !(s->attn_factor > 0) || s->orig_context == 0)
        return fail(e, ERR_FORMAT,
                    "RoPE scaling: factor %g, attn_factor %g, original context %u are out of range",
                    (double)s->factor, (double)s->attn_factor, s->orig_context);
    return OK;
}

/* The pair index whose wavelength makes `turns` full turns within the original context (YaRN, eq. 17). */
static double yarn_pair(uint32_t n_rot, uint32_t context, double turns, double base)
{
    return n_rot * log(context / (turns * 2 * M_PI)) / (2 * log(base));
}

/* Frequency divisors that the file brings: Llama 3's, or Phi-3's for long or for short contexts. */
static const void *factors(const struct arch_build *b, const struct scaling *s)
{
    wref w = slot_global(b, W_ROPE_FREQS);
    if (!w) w = slot_global(b, b->context > s->orig_context ? W_ROPE_LONG : W_ROPE_SHORT);
    return w ? b->d->weight[w].data : NULL;
}

status rope_add(struct arch_build *b, float base, bool scaled, bool interleaved, uint32_t *index,
                struct error *e)
{
    const uint32_t n_pair = b->n_rot / 2;
    struct scaling s;
    TRY(scaling_read(b, &s, e));
    if (!scaled) s = (struct scaling){.factor = 1, .orig_context = s.orig_context, .attn_factor = 1};

    struct rope r = {.n_pair = n_pair, .interleaved = interleaved, .scale = s.attn_factor};
    r.inv_freq = mem_zalloc(n_pair, sizeof *r.inv_freq);
    double low = 0, high = 0;
    if (s.yarn) {
        low = MAX(0.0, floor(yarn_pair(b->n_rot, s.orig_context, s.beta_fast, base)));
        high = MIN((double)b->n_rot - 1, ceil(yarn_pair(b->n_rot, s.orig_context, s.beta_slow, base)));
        r.scale *= (float)(1.0 + 0.1 * log((double)s.factor));
    }
    const void *div = scaled ? factors(b, &s) : NULL;
    for (uint32_t i = 0; i < n_pair; i++) {
        float one;
        if (div) memcpy(&one, (const char *)div + i * sizeof one, sizeof one); /* the file may be unaligned */
        double freq = pow(base, -2.0 * i / b->n_rot) / (div ? (double)one : 1.0);
        double stretched = freq / s.factor;
        if (s.yarn) {
            double ramp = 1 - MIN(1.0, MAX(0.0, (i - low) / MAX(0.001, high - low)));
            stretched = stretched * (1 - ramp) + freq * ramp;
        }
        r.inv_freq[i] = (float)stretched;
        if (!isfinite(r.inv_freq[i])) {
            free(r.inv_freq);
            return fail(e, ERR_FORMAT, "RoPE factor of pair %u is not usable", i);
        }
    }
    b->d->rope = mem_realloc(b->d->rope, b->d->n_rope + 1, sizeof *b->d->rope);
    b->d->rope[b->d->n_rope] = r;
    *index = b->d->n_rope++;
    return OK;
}
