// Softmax, and attention on tiles or by vectors, for kernels.h.

// 2^x for x <= 0, with a relative error of 8e-5: a polynomial on [-0.5, 0.5] (Chebyshev fit), and the exponent.
CLAPRT_INLINE Floats power_of_two(Floats x) {
  x = larger(x, all(-120.f));
  const Floats magic = all(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits
  const Floats whole = add(x, magic);
  const Floats rest = sub(x, sub(whole, magic));
  Floats y = fma(all(0.055088767f), rest, all(0.242604656f));
  y = fma(y, rest, all(0.693276283f));
  y = fma(y, rest, all(0.999928905f));
  return times_power_of_two(y, bits(whole));
}

// Softmax over keys, but for the division: scores [key 64][query 64] to powers of two; gives 1 / their sum for each query.
// With bfloat16, weights are pairs of keys [key / 2][query 64].
CLAPRT_INLINE void soften(const float* scores, const Floats (&most)[kVectors], float* weights, Floats (&inverse)[kVectors]) {
  Floats sum[kVectors];
  CLAPRT_UNROLL
  for (int v = 0; v < kVectors; ++v) sum[v] = zero();
  for (int j = 0; j < kTokens; j += 2) {
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const Floats a = power_of_two(sub(load(scores + j * kTokens + 16 * v), most[v]));
      const Floats b = power_of_two(sub(load(scores + (j + 1) * kTokens + 16 * v), most[v]));
      sum[v] = add(sum[v], add(a, b));
#if CLAPRT_BF16
      store_ints(weights + (j / 2) * kTokens + 16 * v, bf16_pairs(a, b));
#else
      store(weights + j * kTokens + 16 * v, a);
      store(weights + (j + 1) * kTokens + 16 * v, b);
#endif
    }
  }
  CLAPRT_UNROLL
  for (int v = 0; v < kVectors; ++v) inverse[v] = divide(all(1.f), sum[v]);
}

#if CLAPRT_AMX
#include "attention_amx.h"
#else
#include "attention_vectors.h"
#endif

static void attend_any(int width, const Block& block, const Scratch& scratch, const Inputs& inputs, int first, int last,
                       const float* const* scores, uint8_t* mixed, size_t step) {
  switch (width) {
    case 16: return attend<16>(block, scratch, inputs, first, last, scores, mixed, step);
    case 24: return attend<24>(block, scratch, inputs, first, last, scores, mixed, step);
    case 32: return attend<32>(block, scratch, inputs, first, last, scores, mixed, step);
    default: return attend<64>(block, scratch, inputs, first, last, scores, mixed, step);
  }
}
