// Products with the weights of a layer, for kernels.h.

constexpr int kVectors = kTokens / 16;

// What a layer takes of one or more windows, which lie one after the other.
struct Inputs {
  const uint8_t* first;
  int windows = 1;
  size_t step = 0;  // bytes from window to window
};

#if CLAPRT_AMX
#include "products_amx.h"
#else
#include "products_vectors.h"
#endif

// The same with what the sums stand for.
template <class Take>
CLAPRT_INLINE void multiply_bytes(const Linear& layer, const Inputs& inputs, int begin, int end, const Take& take) {
  sum_products(layer, inputs, begin, end, [&](int window, int n, const Ints(&sum)[4][kVectors]) CLAPRT_INLINED {
    Floats value[4][kVectors];
    CLAPRT_UNROLL
    for (int r = 0; r < 4; ++r) {
      const Floats scale = all(layer.scale[n + r]);
      CLAPRT_UNROLL
      for (int v = 0; v < kVectors; ++v) value[r][v] = mul(to_floats(sum[r][v]), scale);
    }
    take(window, n, value);
  });
}

template <class Take>
CLAPRT_INLINE void multiply_floats(const Linear& layer, const Inputs& inputs, int begin, int end, const Take& take) {
  for (int window = 0; window < inputs.windows; ++window) {
    for (int n = begin; n < end; n += 4) {
      Floats sum[4][kVectors];
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = all(layer.scale[n + r]);
      }
      const float* weight = static_cast<const float*>(layer.weight) + static_cast<size_t>(n) * layer.inputs;
      const float* x = reinterpret_cast<const float*>(inputs.first + window * inputs.step);
      for (int k = 0; k < layer.inputs; ++k, x += kTokens, weight += 4) {
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(load(x + 16 * v), all(weight[r]), sum[r][v]);
        }
      }
      take(window, n, sum);
    }
  }
}

template <class Take>
CLAPRT_INLINE void multiply(const Linear& layer, const Inputs& inputs, int begin, int end, const Take& take) {
  if (layer.bytes)
    multiply_bytes(layer, inputs, begin, end, take);
  else
    multiply_floats(layer, inputs, begin, end, take);
}

CLAPRT_INLINE Inputs floats(const float* input) { return {reinterpret_cast<const uint8_t*>(input)}; }

// Bytes that one number takes where a layer reads it.
CLAPRT_INLINE size_t width_of(const Linear& layer) { return layer.bytes ? 1 : 4; }

// Stores four rows as the input of a layer: rounded to bytes, or as they are.
CLAPRT_INLINE void store_input(bool bytes, uint8_t* input, int n, const Floats (&value)[4][kVectors]) {
  if (bytes) {
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v)
      store_ints(input + static_cast<size_t>(n) * kTokens + 64 * v,
                 bytes_of_four(rounded(value[0][v]), rounded(value[1][v]), rounded(value[2][v]), rounded(value[3][v])));
    return;
  }
  float* floats = reinterpret_cast<float*>(input) + static_cast<size_t>(n) * kTokens;
  CLAPRT_UNROLL
  for (int r = 0; r < 4; ++r) {
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v) store(floats + r * kTokens + 16 * v, value[r][v]);
  }
}

// x[n] + layer(input)[n] for n from begin to end; from and to begin at row `begin`, and may be the same. Windows lie `channels`
// rows apart.
static void add_product(const Linear& layer, const Inputs& inputs, int begin, int end, int channels, const float* from,
                        float* to) {
  multiply(layer, inputs, begin, end, [&](int window, int n, const Floats(&value)[4][kVectors]) {
    const size_t row = (static_cast<size_t>(window) * channels + n - begin) * kTokens;
    CLAPRT_UNROLL
    for (int r = 0; r < 4; ++r) {
      CLAPRT_UNROLL
      for (int v = 0; v < kVectors; ++v) {
        const size_t at = row + r * kTokens + 16 * v;
        store(to + at, add(value[r][v], load(from + at)));
      }
    }
  });
}
