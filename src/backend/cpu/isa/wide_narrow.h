/* Where a wide vector is one vector: what both have in common goes from the one name to the other. Included by the
 * wide_*.h for which that is so, after their types. */
SIMD wf wf_set(float a) { return vf_set(a); }
SIMD wf wf_load(const float *p) { return vf_load(p); }
SIMD void wf_store(float *p, wf a) { vf_store(p, a); }
SIMD wf wf_load_bytes(const int8_t *p) { return vf_from_i8(p); }
SIMD wf wf_mul(wf a, wf b) { return vf_mul(a, b); }
SIMD wf wf_fma(wf a, wf b, wf c) { return vf_fma(a, b, c); }
SIMD wf wf_from_i(wi a) { return vf_from_i(a); }
SIMD wf wf_add(wf a, wf b) { return vf_add(a, b); }
SIMD wf wf_sub(wf a, wf b) { return vf_sub(a, b); }
SIMD wf wf_max(wf a, wf b) { return vf_max(a, b); }
SIMD wf wf_min(wf a, wf b) { return vf_min(a, b); }
SIMD wf wf_div(wf a, wf b) { return vf_div(a, b); }
SIMD wf wf_round_half(wf a) { return vf_round_half(a); }
SIMD wf wf_select_ge(wf a, wf b, wf yes, wf no) { return vf_select_ge(a, b, yes, no); }
SIMD wf wf_exp2_i(wi n) { return vf_exp2_i(n); }
SIMD float wf_sum(wf a) { return vf_sum(a); }
SIMD float wf_hmax(wf a) { return vf_hmax(a); }
SIMD wi wi_round(wf a) { return vi_round(a); }
SIMD wi wi_zero(void) { return vi_zero(); }
