// Sixteen numbers at a time in plain C++, on any processor: what the others are compared with.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__SSE__)
#include <xmmintrin.h>
#endif

#define CLAPRT_INLINE static inline

struct Floats {
  float v[16];
};
struct Ints {
  int32_t v[16];
};

#define CLAPRT_EACH(expression)                                 \
  do {                                                          \
    for (int i = 0; i < 16; ++i) r.v[i] = (expression);         \
    return r;                                                   \
  } while (0)

CLAPRT_INLINE Floats load(const float* p) { Floats r; std::memcpy(r.v, p, 64); return r; }
CLAPRT_INLINE void store(float* p, const Floats& x) { std::memcpy(p, x.v, 64); }
CLAPRT_INLINE Ints load_ints(const void* p) { Ints r; std::memcpy(r.v, p, 64); return r; }
CLAPRT_INLINE void store_ints(void* p, const Ints& x) { std::memcpy(p, x.v, 64); }
CLAPRT_INLINE Floats all(float x) { Floats r; CLAPRT_EACH(x); }
CLAPRT_INLINE Ints all_ints(int32_t x) { Ints r; CLAPRT_EACH(x); }
CLAPRT_INLINE Floats zero() { return all(0); }
CLAPRT_INLINE Floats add(const Floats& a, const Floats& b) { Floats r; CLAPRT_EACH(a.v[i] + b.v[i]); }
CLAPRT_INLINE Floats sub(const Floats& a, const Floats& b) { Floats r; CLAPRT_EACH(a.v[i] - b.v[i]); }
CLAPRT_INLINE Floats mul(const Floats& a, const Floats& b) { Floats r; CLAPRT_EACH(a.v[i] * b.v[i]); }
CLAPRT_INLINE Floats divide(const Floats& a, const Floats& b) { Floats r; CLAPRT_EACH(a.v[i] / b.v[i]); }
CLAPRT_INLINE Floats root(const Floats& a) { Floats r; CLAPRT_EACH(std::sqrt(a.v[i])); }
// a * b + c and a * b - c, rounded once.
CLAPRT_INLINE Floats fma(const Floats& a, const Floats& b, const Floats& c) { Floats r; CLAPRT_EACH(std::fma(a.v[i], b.v[i], c.v[i])); }
CLAPRT_INLINE Floats fms(const Floats& a, const Floats& b, const Floats& c) { Floats r; CLAPRT_EACH(std::fma(a.v[i], b.v[i], -c.v[i])); }
CLAPRT_INLINE Floats larger(const Floats& a, const Floats& b) { Floats r; CLAPRT_EACH(a.v[i] > b.v[i] ? a.v[i] : b.v[i]); }
CLAPRT_INLINE Floats smaller(const Floats& a, const Floats& b) { Floats r; CLAPRT_EACH(a.v[i] < b.v[i] ? a.v[i] : b.v[i]); }
CLAPRT_INLINE Floats to_floats(const Ints& a) { Floats r; CLAPRT_EACH(static_cast<float>(a.v[i])); }
// To the nearest, ties to even; what does not fit, and NaN, is the smallest number, as on x86.
CLAPRT_INLINE int32_t rounded_one(float x) {
  if (!(x >= -2147483648.f && x < 2147483648.f)) return INT32_MIN;
  return static_cast<int32_t>(std::lrint(x));
}
CLAPRT_INLINE Ints rounded(const Floats& a) { Ints r; CLAPRT_EACH(rounded_one(a.v[i])); }
CLAPRT_INLINE Ints bits(const Floats& a) { Ints r; std::memcpy(r.v, a.v, 64); return r; }
CLAPRT_INLINE float scaled_one(float a, int32_t n) {
  uint32_t b;
  std::memcpy(&b, &a, 4);
  b += static_cast<uint32_t>(n) << 23;
  std::memcpy(&a, &b, 4);
  return a;
}
// a * 2^n by adding n to the exponent; n counts modulo 2^9.
CLAPRT_INLINE Floats times_power_of_two(const Floats& a, const Ints& n) { Floats r; CLAPRT_EACH(scaled_one(a.v[i], n.v[i])); }
// Adds to each sum the products of four unsigned with four signed bytes.
CLAPRT_INLINE void dot_bytes(Ints& sum, const Ints& unsigned_bytes, int32_t signed_bytes) {
  uint8_t a[64];
  int8_t b[4];
  std::memcpy(a, unsigned_bytes.v, 64);
  std::memcpy(b, &signed_bytes, 4);
  for (int i = 0; i < 16; ++i)
    sum.v[i] += a[4 * i] * b[0] + a[4 * i + 1] * b[1] + a[4 * i + 2] * b[2] + a[4 * i + 3] * b[3];
}
CLAPRT_INLINE uint8_t saturated(int32_t x) { return static_cast<uint8_t>(x < 0 ? 0 : x > 255 ? 255 : x); }
// For each lane the four numbers as bytes, saturated.
CLAPRT_INLINE Ints bytes_of_four(const Ints& a, const Ints& b, const Ints& c, const Ints& d) {
  uint8_t bytes[64];
  for (int i = 0; i < 16; ++i) {
    bytes[4 * i] = saturated(a.v[i]);
    bytes[4 * i + 1] = saturated(b.v[i]);
    bytes[4 * i + 2] = saturated(c.v[i]);
    bytes[4 * i + 3] = saturated(d.v[i]);
  }
  return load_ints(bytes);
}
// Elements of the 32 of both vectors, by the low five bits of each index.
CLAPRT_INLINE Floats pick(const Floats& a, const Ints& index, const Floats& b) {
  Floats r;
  CLAPRT_EACH((index.v[i] & 16 ? b : a).v[index.v[i] & 15]);
}
CLAPRT_INLINE Floats low_half_and_high_half(const Floats& a, const Floats& b) { Floats r; CLAPRT_EACH((i < 8 ? a : b).v[i]); }
// By halves: lanes i and i + 8, then i + 4, i + 2, i + 1.
CLAPRT_INLINE float sum_of(Floats a) {
  for (int half = 8; half != 0; half /= 2)
    for (int i = 0; i < half; ++i) a.v[i] += a.v[i + half];
  return a.v[0];
}
CLAPRT_INLINE void prefetch(const void*) {}
CLAPRT_INLINE void prefetch_far(const void*) {}

// Eight numbers in float64.
struct Doubles {
  double v[8];
};

#define CLAPRT_EACH_OF_EIGHT(expression)                \
  do {                                                  \
    Doubles r;                                          \
    for (int i = 0; i < 8; ++i) r.v[i] = (expression);  \
    return r;                                           \
  } while (0)

CLAPRT_INLINE Doubles all_doubles(double x) { CLAPRT_EACH_OF_EIGHT(x); }
CLAPRT_INLINE Doubles add(const Doubles& a, const Doubles& b) { CLAPRT_EACH_OF_EIGHT(a.v[i] + b.v[i]); }
CLAPRT_INLINE Doubles sub(const Doubles& a, const Doubles& b) { CLAPRT_EACH_OF_EIGHT(a.v[i] - b.v[i]); }
CLAPRT_INLINE Doubles mul(const Doubles& a, const Doubles& b) { CLAPRT_EACH_OF_EIGHT(a.v[i] * b.v[i]); }
CLAPRT_INLINE void store_narrow(float* p, const Doubles& x) {
  for (int i = 0; i < 8; ++i) p[i] = static_cast<float>(x.v[i]);
}
// Eight numbers of each row from `at`: x[number], a row in each lane.
CLAPRT_INLINE void load_eight(const float* const (&rows)[8], int at, Doubles (&x)[8]) {
  for (int n = 0; n < 8; ++n)
    for (int i = 0; i < 8; ++i) x[n].v[i] = rows[i][at + n];
}
// Sums of `count` vectors of eight times their weight, in order, each rounded once.
CLAPRT_INLINE void sum_eight(const float* x, const float* weight, int count, float* sums) {
  for (int lane = 0; lane < 8; ++lane) {
    float sum = 0;
    for (int i = 0; i < count; ++i) sum = std::fma(x[8 * i + lane], weight[i], sum);
    sums[lane] = sum;
  }
}

// Denormal numbers are zero and rounding is to the nearest, whatever the calling thread has set.
class Arithmetic {
#if defined(__SSE__)
 public:
  Arithmetic() : before_(_mm_getcsr()) { _mm_setcsr(0x1f80 | 0x8040); }
  ~Arithmetic() { _mm_setcsr(before_); }

 private:
  unsigned before_;
#endif
};
