// Layer normalisation, for kernels.h.

struct Moments {
  Floats inverse[kVectors];  // 1 / standard deviation
  Floats shift[kVectors];    // mean / standard deviation
};

static Moments moments(const float* x, int channels) {
  Floats even[kVectors], odd[kVectors], mean[kVectors];
  Moments result;
  CLAPRT_UNROLL
  for (int v = 0; v < kVectors; ++v) even[v] = odd[v] = zero();
  for (int d = 0; d < channels; d += 2) {
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      even[v] = add(even[v], load(x + d * kTokens + 16 * v));
      odd[v] = add(odd[v], load(x + (d + 1) * kTokens + 16 * v));
    }
  }
  const Floats share = all(1.f / channels);
  CLAPRT_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    mean[v] = mul(add(even[v], odd[v]), share);
    even[v] = odd[v] = zero();
  }
  for (int d = 0; d < channels; d += 2) {
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const Floats a = sub(load(x + d * kTokens + 16 * v), mean[v]);
      const Floats b = sub(load(x + (d + 1) * kTokens + 16 * v), mean[v]);
      even[v] = fma(a, a, even[v]);
      odd[v] = fma(b, b, odd[v]);
    }
  }
  CLAPRT_UNROLL
  for (int v = 0; v < kVectors; ++v) {
    result.inverse[v] = divide(all(1.f), root(fma(add(even[v], odd[v]), share, all(1e-5f))));
    result.shift[v] = mul(mean[v], result.inverse[v]);
  }
  return result;
}

// Layer normalisation of x [channels][64], as the input of a layer.
static void normalise(const float* x, int channels, const Norm& norm, bool bytes, uint8_t* input) {
  const Moments of = moments(x, channels);
  for (int d = 0; d < channels; d += 4) {
    Floats value[4][kVectors];
    CLAPRT_UNROLL
    for (int r = 0; r < 4; ++r) {
      CLAPRT_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const Floats unit = fms(load(x + (d + r) * kTokens + 16 * v), of.inverse[v], of.shift[v]);
        value[r][v] = fma(unit, all(norm.weight[d + r]), all(norm.bias[d + r]));
      }
    }
    store_input(bytes, input, d, value);
  }
}
