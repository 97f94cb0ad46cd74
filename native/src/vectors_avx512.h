// Sixteen numbers at a time on AVX-512. What each function does is said by vectors_scalar.h, which gives the same bits.
#pragma once

#include <immintrin.h>

#include <cstdint>

#define CLAPRT_INLINE static inline __attribute__((always_inline))

using Floats = __m512;
using Ints = __m512i;

CLAPRT_INLINE Floats load(const float* p) { return _mm512_loadu_ps(p); }
CLAPRT_INLINE void store(float* p, Floats x) { _mm512_storeu_ps(p, x); }
CLAPRT_INLINE Ints load_ints(const void* p) { return _mm512_loadu_si512(p); }
CLAPRT_INLINE void store_ints(void* p, Ints x) { _mm512_storeu_si512(p, x); }
CLAPRT_INLINE Floats all(float x) { return _mm512_set1_ps(x); }
CLAPRT_INLINE Ints all_ints(int32_t x) { return _mm512_set1_epi32(x); }
CLAPRT_INLINE Floats zero() { return _mm512_setzero_ps(); }
CLAPRT_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
CLAPRT_INLINE Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
CLAPRT_INLINE Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
CLAPRT_INLINE Floats divide(Floats a, Floats b) { return _mm512_div_ps(a, b); }
CLAPRT_INLINE Floats root(Floats a) { return _mm512_sqrt_ps(a); }
CLAPRT_INLINE Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
CLAPRT_INLINE Floats fms(Floats a, Floats b, Floats c) { return _mm512_fmsub_ps(a, b, c); }
CLAPRT_INLINE Floats larger(Floats a, Floats b) { return _mm512_max_ps(a, b); }
CLAPRT_INLINE Floats smaller(Floats a, Floats b) { return _mm512_min_ps(a, b); }
CLAPRT_INLINE Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
CLAPRT_INLINE Ints rounded(Floats a) { return _mm512_cvtps_epi32(a); }
CLAPRT_INLINE Ints bits(Floats a) { return _mm512_castps_si512(a); }
CLAPRT_INLINE Floats times_power_of_two(Floats a, Ints n) {
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(n, 23)));
}
// In assembler, since g++ copies the accumulators of the intrinsic.
CLAPRT_INLINE void dot_bytes(Ints& sum, Ints unsigned_bytes, int32_t signed_bytes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_bytes), "v"(_mm512_set1_epi32(signed_bytes)));
}
CLAPRT_INLINE Ints bytes_of_four(Ints a, Ints b, Ints c, Ints d) {
  const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  return _mm512_shuffle_epi8(_mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)), order);
}
CLAPRT_INLINE Floats pick(Floats a, Ints index, Floats b) { return _mm512_permutex2var_ps(a, index, b); }
CLAPRT_INLINE Floats low_half_and_high_half(Floats a, Floats b) { return _mm512_mask_blend_ps(0xff00, a, b); }
CLAPRT_INLINE float sum_of(Floats a) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
#if CLAPRT_AMX
CLAPRT_INLINE Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
// 16 x 16 dwords, whose rows begin `step` dwords apart.
static void transpose(const float* from, int from_step, float* to, int to_step) {
  __m512 a[16], b[16];
  CLAPRT_UNROLL
  for (int i = 0; i < 16; ++i) a[i] = load(from + i * from_step);
  CLAPRT_UNROLL
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  CLAPRT_UNROLL
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_shuffle_ps(b[i], b[i + 2], 0x44);
    a[i + 1] = _mm512_shuffle_ps(b[i], b[i + 2], 0xee);
    a[i + 2] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0x44);
    a[i + 3] = _mm512_shuffle_ps(b[i + 1], b[i + 3], 0xee);
  }
  // now a[4 g + c] has, in each quarter q, column 4 q + c of rows 4 g … 4 g + 3
  CLAPRT_UNROLL
  for (int c = 0; c < 4; ++c) {
    const __m512 even = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88), even2 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
    const __m512 odd = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd), odd2 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
    store(to + c * to_step, _mm512_shuffle_f32x4(even, even2, 0x88));
    store(to + (4 + c) * to_step, _mm512_shuffle_f32x4(odd, odd2, 0x88));
    store(to + (8 + c) * to_step, _mm512_shuffle_f32x4(even, even2, 0xdd));
    store(to + (12 + c) * to_step, _mm512_shuffle_f32x4(odd, odd2, 0xdd));
  }
}
#endif
CLAPRT_INLINE void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
CLAPRT_INLINE void prefetch_far(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }

#if CLAPRT_BF16
CLAPRT_INLINE void dot_bf16(Floats& sum, Ints pairs, Ints other) {
  asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pairs), "v"(other));
}
// For each lane the bfloat16 of both, the first in the low half.
CLAPRT_INLINE Ints bf16_pairs(Floats low, Floats high) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20,
                                         4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}
// The bfloat16 of the first, then those of the second.
CLAPRT_INLINE Ints bf16_row(Floats first, Floats second) { return (__m512i)_mm512_cvtne2ps_pbh(second, first); }
#endif

using Doubles = __m512d;

CLAPRT_INLINE Doubles all_doubles(double x) { return _mm512_set1_pd(x); }
CLAPRT_INLINE Doubles add(Doubles a, Doubles b) { return _mm512_add_pd(a, b); }
CLAPRT_INLINE Doubles sub(Doubles a, Doubles b) { return _mm512_sub_pd(a, b); }
CLAPRT_INLINE Doubles mul(Doubles a, Doubles b) { return _mm512_mul_pd(a, b); }
CLAPRT_INLINE void store_narrow(float* p, Doubles x) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(x)); }
CLAPRT_INLINE void load_eight(const float* const (&rows)[8], int at, Doubles (&x)[8]) {
  __m256 a[8], b[8];
  CLAPRT_UNROLL
  for (int i = 0; i < 4; ++i)
    for (int half = 0; half < 2; ++half)  // four numbers of rows i and i + 4
      a[i + 4 * half] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows[i] + at + 4 * half)),
                                             _mm_loadu_ps(rows[i + 4] + at + 4 * half), 1);
  CLAPRT_UNROLL
  for (int half = 0; half < 8; half += 4)
    for (int i = 0; i < 4; i += 2) {
      b[half + i] = _mm256_unpacklo_ps(a[half + i], a[half + i + 1]);
      b[half + i + 1] = _mm256_unpackhi_ps(a[half + i], a[half + i + 1]);
    }
  CLAPRT_UNROLL
  for (int half = 0; half < 8; half += 4)
    for (int i = 0; i < 2; ++i) {
      x[half + 2 * i] = _mm512_cvtps_pd(_mm256_shuffle_ps(b[half + i], b[half + i + 2], 0x44));
      x[half + 2 * i + 1] = _mm512_cvtps_pd(_mm256_shuffle_ps(b[half + i], b[half + i + 2], 0xee));
    }
}
CLAPRT_INLINE void sum_eight(const float* x, const float* weight, int count, float* sums) {
  __m256 sum = _mm256_setzero_ps();
  for (int i = 0; i < count; ++i) sum = _mm256_fmadd_ps(_mm256_loadu_ps(x + 8 * i), _mm256_set1_ps(weight[i]), sum);
  _mm256_storeu_ps(sums, sum);
}

// Denormal numbers are zero and rounding is to the nearest, whatever the calling thread has set.
class Arithmetic {
 public:
  Arithmetic() : before_(_mm_getcsr()) { _mm_setcsr(0x1f80 | 0x8040); }
  ~Arithmetic() { _mm_setcsr(before_); }

 private:
  unsigned before_;
};
