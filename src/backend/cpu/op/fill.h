/* Included last by isa/NAME.c, after its vector primitives: the skeletons, and the table that holds them. */
#include "backend/cpu/op/matmul.h"
#include "backend/cpu/op/vector.h"
#include "backend/cpu/op/attention.h"

static void fill_kernels(struct cpu_kernels *k, const char *name)
{
    *k = (struct cpu_kernels){.name = name,
                              .quantize_bytes = op_quantize_bytes,
                              .quantize_pairs = op_quantize_pairs,
                              .norm = op_norm,
                              .add = op_add,
                              .scale_add = op_scale_add,
                              .act_mul = op_act_mul,
                              .act = op_act,
                              .rope = op_rope,
                              .softcap = op_softcap,
                              .to_halves = op_to_halves,
                              .attention = op_attention,
                              .attention_join = op_attention_join};
    matmul_fill(k);
}
