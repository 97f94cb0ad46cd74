// The tower, for one instruction set: included once by each of set_*.cpp, inside a namespace of its own, after vectors_*.h.
//
// Tokens lie in lanes and channels in rows: a window's 64 tokens are four vectors. So normalisation, softmax and the sums of
// products need no reduction across lanes, heads are ranges of rows, and nothing is ever transposed. The residual of a window
// is [channels][64] float32, what a product takes is [channels / 4][64][4] uint8 (or [channels][64] float32).

constexpr int kVectors = kTokens / 16;

// What a layer takes of one or more windows, which lie one after the other.
struct Inputs {
  const uint8_t* first;
  int windows = 1;
  size_t step = 0;  // bytes from window to window
};

// ---------------------------------------------------------------------------------------------------------------- products

#if CLAPRT_AMX
#include "products_amx.h"
#else
// Calls take(window, n, sums) for every window and every four outputs n … n + 3 from begin to end with their sums of products
// [4 outputs][4 vectors].
template <class Take>
CLAPRT_INLINE void sum_products(const Linear& layer, const Inputs& inputs, int begin, int end, const Take& take) {
  const int quads = layer.inputs / 4, blocks = (quads + kBlockQuads - 1) / kBlockQuads;
  for (int window = 0; window < inputs.windows; ++window) {
    for (int n = begin; n < end; n += 4) {
      Ints sum[4][kVectors];
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        const Ints start = all_ints(layer.start[n + r]);
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = start;
      }
      const int32_t* weight = static_cast<const int32_t*>(layer.weight) +
                              (static_cast<size_t>(n / kBlockRows) * blocks * kBlockRows + n % kBlockRows) * kBlockQuads;
      const uint8_t* x = inputs.first + window * inputs.step;
      // one loop over all blocks, since g++ copies the sums at the end of an inner one
      for (int k = 0; k < quads; ++k, x += 4 * kTokens) {
        const int in_block = k % kBlockQuads;
        const int32_t* at = weight + (k - in_block) * kBlockRows + in_block;
        Ints bytes[kVectors];
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) bytes[v] = load_ints(x + 64 * v);
        // the same rows of the next 16 outputs
        prefetch_far(weight + (blocks * kBlockQuads + k - in_block) * kBlockRows + in_block / 4 * kBlockQuads);
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v) dot_bytes(sum[r][v], bytes[v], at[r * kBlockQuads]);
        }
      }
      take(window, n, sum);
    }
  }
}
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

// ----------------------------------------------------------------------------------------------------------- normalisation

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

// --------------------------------------------------------------------------------------------------------------- attention

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
// Heads from first to last of one window; mixed begins at the first of them.
template <int kWidth>
static void attend(const Block& block, const Scratch& scratch, const uint8_t* input, int first, int last, const float* scores,
                   uint8_t* mixed) {
  float *query = scratch.query, *key = scratch.key, *value = scratch.value;
  const bool bytes = block.projection.bytes;
  const Floats scale = all(bytes ? block.mixed_inverse : 1.f), offset = all(bytes ? block.mixed_zero : 0.f);
  for (int head = first; head < last; ++head, scores += kTokens * kTokens) {
    const int begin = head * kWidth, end = begin + kWidth;
    // queries and keys: rows of channels, pairs of channels in bfloat16; values: rows of channels, pairs of keys in bfloat16
    const auto into = [begin](float* rows) {
      return [rows, begin](int, int n, const Floats(&sum)[4][kVectors]) {
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) {
#if CLAPRT_BF16
          float* at = rows + (n - begin) / 2 * kTokens + 16 * v;
          store_ints(at, bf16_pairs(sum[0][v], sum[1][v]));
          store_ints(at + kTokens, bf16_pairs(sum[2][v], sum[3][v]));
#else
          CLAPRT_UNROLL
          for (int r = 0; r < 4; ++r) store(rows + (n - begin + r) * kTokens + 16 * v, sum[r][v]);
#endif
        }
      };
    };
    multiply(block.query, {input}, begin, end, into(query));
    multiply(block.key, {input}, begin, end, into(key));
#if CLAPRT_BF16
    multiply(block.value, {input}, begin, end, [value, begin](int, int n, const Floats(&sum)[4][kVectors]) {
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        float* at = value + (n - begin + r) * (kTokens / 2);
        store_ints(at, bf16_row(sum[r][0], sum[r][1]));
        store_ints(at + 16, bf16_row(sum[r][2], sum[r][3]));
      }
    });
#else
    multiply(block.value, {input}, begin, end, into(value));
#endif
    Floats most[kVectors], inverse[kVectors];
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v) most[v] = all(-1e30f);
    for (int j = 0; j < kTokens; j += 4) {
      Floats sum[4][kVectors];
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          sum[r][v] = load(scores + (j + r) * kTokens + 16 * v);
          prefetch(scores + (j + r + 8) * kTokens + 16 * v);
        }
      }
#if CLAPRT_BF16
      CLAPRT_UNROLL
      for (int p = 0; p < kWidth / 2; ++p) {
        Ints q[kVectors];
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) q[v] = load_ints(query + p * kTokens + 16 * v);
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          const Ints k = all_ints(reinterpret_cast<const int32_t*>(key)[p * kTokens + j + r]);
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v) dot_bf16(sum[r][v], q[v], k);
        }
      }
#else
      for (int d = 0; d < kWidth; ++d) {
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          const Floats k = all(key[d * kTokens + j + r]);
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(load(query + d * kTokens + 16 * v), k, sum[r][v]);
        }
      }
#endif
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          store(scratch.scores + (j + r) * kTokens + 16 * v, sum[r][v]);
          most[v] = larger(most[v], sum[r][v]);
        }
      }
    }
    soften(scratch.scores, most, scratch.weights, inverse);
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v) inverse[v] = mul(inverse[v], scale);
    for (int d = 0; d < kWidth; d += 4) {
      Floats sum[4][kVectors];
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = zero();
      }
#if CLAPRT_BF16
      for (int j = 0; j < kTokens / 2; ++j) {
        Ints w[kVectors];
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) w[v] = load_ints(scratch.weights + j * kTokens + 16 * v);
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          const Ints x = all_ints(reinterpret_cast<const int32_t*>(value)[(d + r) * (kTokens / 2) + j]);
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v) dot_bf16(sum[r][v], w[v], x);
        }
      }
#else
      for (int j = 0; j < kTokens; ++j) {
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          const Floats x = all(value[(d + r) * kTokens + j]);
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(load(scratch.weights + j * kTokens + 16 * v), x, sum[r][v]);
        }
      }
#endif
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(sum[r][v], inverse[v], offset);
      }
      store_input(bytes, mixed, (head - first) * kWidth + d, sum);
    }
  }
}

#endif

// Heads from first to last of windows; scores[window] and mixed begin at the first of them, and windows of mixed lie `step`
// bytes apart.
template <int kWidth>
static void attend_each(const Block& block, const Scratch& scratch, const Inputs& inputs, int first, int last,
                        const float* const* scores, uint8_t* mixed, size_t step) {
#if CLAPRT_AMX
  attend<kWidth>(block, scratch, inputs, first, last, scores, mixed, step);
#else
  for (int window = 0; window < inputs.windows; ++window)
    attend<kWidth>(block, scratch, inputs.first + window * inputs.step, first, last, scores[window], mixed + window * step);
#endif
}

static void attend_any(int width, const Block& block, const Scratch& scratch, const Inputs& inputs, int first, int last,
                       const float* const* scores, uint8_t* mixed, size_t step) {
  switch (width) {
    case 16: return attend_each<16>(block, scratch, inputs, first, last, scores, mixed, step);
    case 24: return attend_each<24>(block, scratch, inputs, first, last, scores, mixed, step);
    case 32: return attend_each<32>(block, scratch, inputs, first, last, scores, mixed, step);
    default: return attend_each<64>(block, scratch, inputs, first, last, scores, mixed, step);
  }
}

// -------------------------------------------------------------------------------------------------------------------- GELU

// erf by the rational approximation of Eigen and XLA, to a few units in the last place.
CLAPRT_INLINE Floats error_function(Floats x) {
  x = smaller(larger(x, all(-4.f)), all(4.f));
  const Floats y = mul(x, x);
  Floats a = fma(all(-2.72614225801306e-10f), y, all(2.77068142495902e-08f));
  a = fma(a, y, all(-2.10102402082508e-06f));
  a = fma(a, y, all(-5.69250639462346e-05f));
  a = fma(a, y, all(-7.34990630326855e-04f));
  a = fma(a, y, all(-2.95459980854025e-03f));
  a = fma(a, y, all(-1.60960333262415e-02f));
  Floats b = fma(all(-1.45660718464996e-05f), y, all(-2.13374055278905e-04f));
  b = fma(b, y, all(-1.68282697438203e-03f));
  b = fma(b, y, all(-7.37332916720468e-03f));
  b = fma(b, y, all(-1.42647390514189e-02f));
  return divide(mul(x, a), b);
}

CLAPRT_INLINE void load_gelu(const float (&table)[3][kSegments], Floats (&low)[3], Floats (&high)[3]) {
  CLAPRT_UNROLL
  for (int c = 0; c < 3; ++c) {
    low[c] = load(table[c]);
    high[c] = load(table[c] + 16);
  }
}

// GELU by a square polynomial on each quarter from -4 to 4 (gelu_table.py), with whatever scale and offset the table has. The
// segment, round(4 x) + 16, is in the low bits of a sum whose last place is 1.
CLAPRT_INLINE Floats gelu(Floats x, const Floats (&low)[3], const Floats (&high)[3]) {
  const Floats inside = smaller(larger(x, all(-4.f)), all(3.75f));
  const Ints segment = bits(fma(inside, all(4.f), all(12582912.f + 16.f)));
  const Floats slope = fma(pick(low[2], segment, high[2]), x, pick(low[1], segment, high[1]));
  return fma(slope, x, pick(low[0], segment, high[0]));
}

// GELU of the first layer of an MLP, for outputs from begin to end; hidden begins at `begin`, and its
// windows lie `step` bytes apart.
static void widen(const Block& block, const Inputs& inputs, int begin, int end, uint8_t* hidden, size_t step) {
  if (!block.down.bytes) {
    multiply(block.up, inputs, begin, end, [&](int window, int n, const Floats(&value)[4][kVectors]) {
      Floats y[4][kVectors];
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const Floats half = mul(value[r][v], all(0.5f));
          y[r][v] = fma(half, error_function(mul(value[r][v], all(0.70710678118654752f))), half);
        }
      store_input(false, hidden + window * step, n - begin, y);
    });
    return;
  }
  // bytes: by the table, whose error is a few hundredths of a step
  Floats low[3], high[3];
  load_gelu(block.gelu, low, high);
  multiply(block.up, inputs, begin, end, [&](int window, int n, const Floats(&value)[4][kVectors]) {
    Floats y[4][kVectors];
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        y[r][v] = gelu(value[r][v], low, high);
      }
    }
    store_input(true, hidden + window * step, n - begin, y);
  });
}

// ------------------------------------------------------------------------------------------------------ moving of windows

// Window (row, column) of the grid of side x side windows, shifted by half a window (direction 1) or shifted back (-1).
static void shift(const float* from, float* to, int channels, int side, int row, int column, int direction) {
  const Ints index = load_ints(kHalves);
  const int before = side - 1;
  const int row0 = direction > 0 ? row : (row + before) % side, row1 = direction > 0 ? (row + 1) % side : row;
  const int column0 = direction > 0 ? column : (column + before) % side, column1 = direction > 0 ? (column + 1) % side : column;
  const size_t size = static_cast<size_t>(channels) * kTokens;
  for (int half = 0; half < 2; ++half) {
    const float* a = from + ((half ? row1 : row0) * side + column0) * size;
    const float* b = from + ((half ? row1 : row0) * side + column1) * size;
    for (int d = 0; d < channels; ++d) {
      CLAPRT_UNROLL
      for (int v = 0; v < 2; ++v) {
        const int source = d * kTokens + ((half * 2 + v + 2) & 3) * 16;
        store(to + d * kTokens + (half * 2 + v) * 16, pick(load(a + source), index, load(b + source)));
      }
    }
  }
}

// Joins 2 x 2 tokens of 2 x 2 windows: [channels][64] of each to [4 channels][64] of window (row, column) of the next stage.
static void merge(const float* from, float* to, int channels, int side, int row, int column) {
  const size_t size = static_cast<size_t>(channels) * kTokens;
  for (int right = 0; right < 2; ++right)
    for (int down = 0; down < 2; ++down) {
      const Ints index = load_ints(kEverySecond[down * 2 + right]);
      float* part = to + (right * 2 + down) * size;
      for (int half = 0; half < 2; ++half) {
        const float* a = from + ((2 * row + half) * side + 2 * column) * size;
        const float* b = a + size;
        for (int d = 0; d < channels; ++d) {
          CLAPRT_UNROLL
          for (int u = 0; u < 2; ++u) {
            const int source = d * kTokens + 32 * u;
            const Floats top = pick(load(a + source), index, load(b + source));
            const Floats bottom = pick(load(a + source + 16), index, load(b + source + 16));
            store(part + d * kTokens + (half * 2 + u) * 16, low_half_and_high_half(top, bottom));
          }
        }
      }
    }
}

// ------------------------------------------------------------------------------------------------------------------- a run

struct Target {
  void* at;
  size_t bytes;
};

// One thread's part of a run.
class Part {
 public:
  Part(Workspace& space, int worker)
      : space_(space), tower_(*space.tower), scratch_(space.scratch[worker]), member_(space.team->member(worker)) {}

  void run() {
    front();
    int current = 0;
    for (int stage = 0; stage < kStages; ++stage) {
      current = blocks(stage, current);
      if (stage < kStages - 1) current = join(stage, current);
    }
    tail(current);
  }

 private:
  // One phase: compute(task, out) writes target(task).bytes to out, which is target(task).at or a helper's own memory.
  template <class Where, class Compute>
  void phase(int tasks, const Where& target, const Compute& compute) {
    if (member_.worker == 0) {
      Team::open(member_);
      const int64_t begin = Team::now_ns();
      int own = 0;
      for (int task; (task = Team::claim(member_, tasks)) >= 0; ++own) {
        compute(task, target(task).at);
        Team::complete(member_, task);
      }
      if (own == tasks) return;
      const int64_t taken = Team::now_ns() - begin;
      for (int task; (task = Team::unfinished(member_, tasks, taken, own)) >= 0;) compute(task, target(task).at);
      return;
    }
    if (!Team::wait_until_open(member_)) return;
    for (int task; (task = Team::claim(member_, tasks)) >= 0;) {
      compute(task, static_cast<void*>(scratch_.own));
      if (!Team::may_publish(member_, task)) continue;
      const Target where = target(task);
      std::memcpy(where.at, scratch_.own, where.bytes);
      Team::complete(member_, task);
    }
  }

  static size_t window_bytes(int channels) { return static_cast<size_t>(channels) * kTokens * sizeof(float); }

  float* window(int current, int channels, int index) const {
    return space_.tokens[current] + static_cast<size_t>(index) * channels * kTokens;
  }

  void front() {
    const int views = tower_.views > 1 && member_.flag ? tower_.views : 1, rows = kImage / 8;
    const auto image = [&](int task) { return space_.image + static_cast<size_t>(task) * rows * kMels; };
    phase(
        8 * views, [&](int task) { return Target{image(task), rows * kMels * sizeof(float)}; },
        [&](int task, void* out) { resize(task / 8, task % 8 * rows, rows, static_cast<float*>(out)); });
    const int dim = tower_.dim;
    const auto tokens = [&](int task) { return Target{window(0, dim, task), window_bytes(dim)}; };
    if (views == 1) {
      phase(kWindows, tokens, [&](int task, void* out) {
        float* x = static_cast<float*>(out);
        patches(task, x);
        norm_in_place(x);
      });
      return;
    }
    const size_t both = static_cast<size_t>(2) * dim * kTokens + 2 * dim;
    const auto views_of = [&](int task) { return space_.views + task * both; };
    phase(
        kWindows, [&](int task) { return Target{views_of(task), both * sizeof(float)}; },
        [&](int task, void* out) {
          float *x = static_cast<float*>(out), *y = x + dim * kTokens, *sums = y + dim * kTokens;
          patches(task, x);
          local_patches(task, y);
          for (int d = 0; d < dim; ++d) {
            Floats sum = zero();
            for (int v = 0; v < kVectors; ++v)
              sum = add(sum, add(load(x + d * kTokens + 16 * v), load(y + d * kTokens + 16 * v)));
            sums[d] = sum_of(sum);
          }
        });
    phase(
        1, [&](int) { return Target{space_.overall, dim * sizeof(float)}; },
        [&](int, void* out) { weigh_all(views_of, static_cast<float*>(out)); });
    phase(kWindows, tokens, [&](int task, void* out) {
      float* x = static_cast<float*>(out);
      fuse(views_of(task), x);
      norm_in_place(x);
    });
  }

  // Rows of the image of one view: normalised log-mels, each row made of four frames.
  void resize(int view, int begin, int count, float* out) const {
    const float* frames = space_.log_mels + static_cast<size_t>(view) * tower_.frames * kMels;
    for (int row = begin; row < begin + count; ++row, out += kMels)
      for (int v = 0; v < kMels / 16; ++v) {
        const Floats scale = load(tower_.mel_scale + 16 * v), offset = load(tower_.mel_shift + 16 * v);
        Floats sum = zero();
        for (int tap = 0; tap < 4; ++tap) {
          const float* frame = frames + static_cast<size_t>(tower_.first[row] + tap) * kMels;
          sum = fma(fma(load(frame + 16 * v), scale, offset), all(tower_.taps[row * 4 + tap]), sum);
        }
        store(out + 16 * v, sum);
      }
  }

  // The first stage's window `task` [dim][64], before normalisation. Windows: band, row, column.
  void patches(int task, float* out) const {
    const int band = task / 16, row = task / 8 % 2, column = task % 8;
    float* pixels = scratch_.wide;  // [pixel 16][64]
    for (int c = 0; c < 8; ++c)
      for (int t = 0; t < 4; ++t) {
        const float* mels = space_.image + (band * 256 + column * 32 + c * 4 + t) * kMels + row * 32;
        for (int r = 0; r < 8; ++r)
          for (int m = 0; m < 4; ++m) pixels[(m * 4 + t) * kTokens + r * 8 + c] = mels[r * 4 + m];
      }
    project(tower_.patch, pixels, out);
  }

  // The same of the local views, which lie one after the other along time; the last column is empty.
  void local_patches(int task, float* out) const {
    const int band = task / 16, row = task / 8 % 2, column = task % 8;
    float* pixels = scratch_.wide;  // [pixel 48][64]
    for (int c = 0; c < 8; ++c) {
      const int wide = column * 8 + c, view = 1 + wide / kLocalColumns, place = wide % kLocalColumns;
      for (int t = 0; t < 12; ++t) {
        const size_t line = static_cast<size_t>(view) * kImage + band * 256 + place * 12 + t;
        const float* mels = space_.image + line * kMels + row * 32;
        for (int r = 0; r < 8; ++r)
          for (int m = 0; m < 4; ++m)
            pixels[(m * 12 + t) * kTokens + r * 8 + c] = view < tower_.views ? mels[r * 4 + m] : 0.f;
      }
    }
    project(tower_.fusion.local, pixels, out);
    if (column == 7)
      for (int d = 0; d < tower_.dim; ++d)
        for (int r = 0; r < 8; ++r) out[d * kTokens + r * 8 + 7] = 0.f;
  }

  static void project(const Linear& layer, const float* input, float* out) {
    multiply_floats(layer, floats(input), 0, layer.outputs, [&](int, int n, const Floats(&value)[4][kVectors]) {
      store_input(false, reinterpret_cast<uint8_t*>(out), n, value);
    });
  }

  void norm_in_place(float* x) const {
    normalise(x, tower_.dim, tower_.patch_norm, false, reinterpret_cast<uint8_t*>(x));
  }

  // The part of the gate that sees the mean of all tokens.
  template <class Views>
  void weigh_all(const Views& views_of, float* out) const {
    const int dim = tower_.dim;
    float *mean = scratch_.wide, *reduced = mean + dim;
    for (int d = 0; d < dim; ++d) {
      float sum = 0;
      for (int task = 0; task < kWindows; ++task) sum += views_of(task)[2 * dim * kTokens + d];
      mean[d] = sum / (kWindows * kTokens);
    }
    product_of_one(tower_.fusion.global_down, mean, reduced);
    for (int d = 0; d < tower_.fusion.global_down.outputs; ++d) reduced[d] = reduced[d] > 0 ? reduced[d] : 0;
    product_of_one(tower_.fusion.global_up, reduced, out);
  }

  static void product_of_one(const Linear& layer, const float* input, float* out) {
    const float* weight = static_cast<const float*>(layer.weight);
    for (int n = 0; n < layer.outputs; ++n) {
      float sum = layer.scale[n];
      for (int k = 0; k < layer.inputs; ++k) sum += input[k] * weight[(static_cast<size_t>(n / 4) * layer.inputs + k) * 4 + n % 4];
      out[n] = sum;
    }
  }

  // 2 g x + 2 (1 - g) y of global tokens x and local tokens y, with the gate g = sigmoid(local_att(x + y) + overall).
  void fuse(const float* x, float* out) const {
    const int dim = tower_.dim;
    const float* y = x + dim * kTokens;
    float *together = scratch_.wide, *reduced = together + dim * kTokens;
    for (int i = 0; i < dim * kTokens; i += 16) store(together + i, add(load(x + i), load(y + i)));
    multiply_floats(tower_.fusion.local_down, floats(together), 0, dim / 4, [&](int, int n, const Floats(&value)[4][kVectors]) {
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < kVectors; ++v) store(reduced + (n + r) * kTokens + 16 * v, larger(value[r][v], zero()));
    });
    multiply_floats(tower_.fusion.local_up, floats(reduced), 0, dim, [&](int, int n, const Floats(&value)[4][kVectors]) {
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const size_t at = static_cast<size_t>(n + r) * kTokens + 16 * v;
          const Floats gate = sigmoid(add(value[r][v], all(space_.overall[n + r])));
          const Floats difference = sub(load(x + at), load(y + at));
          const Floats mixed = fma(gate, difference, load(y + at));
          store(out + at, add(mixed, mixed));
        }
    });
  }

  static Floats sigmoid(Floats x) {
    const Floats magnitude = larger(x, sub(zero(), x));
    const Floats e = power_of_two(mul(magnitude, all(-1.44269504f)));  // exp(-|x|)
    const Floats small = divide(e, add(all(1.f), e));                  // of -|x|
    // sigmoid(x) is 1/2 + sign(x) (1/2 - small)
    const Floats sign = smaller(larger(mul(x, all(1e30f)), all(-1.f)), all(1.f));
    return fma(sign, sub(all(0.5f), small), all(0.5f));
  }

  // The blocks of a stage; gives which of the two token buffers holds the result, in window order.
  int blocks(int stage, int current) {
    const int channels = tower_.dim << stage, side = 8 >> stage, windows = side * side, heads = tower_.heads[stage];
    const int each = together(windows);
    bool shifted = false;
    for (int index = 0; index < tower_.depth[stage]; ++index) {
      const Block& block = tower_.block[stage][index];
      if (windows == 1) {
        last_stage_block(block, channels, heads, window(current, channels, 0));
        continue;
      }
      const bool wanted = index % 2 == 1, moved = wanted != shifted;
      const int from = current, to = moved ? 1 - current : current;
      phase(
          windows / each, [&](int task) { return Target{window(to, channels, task * each), each * window_bytes(channels)}; },
          [&](int task, void* out) {
            float* x = static_cast<float*>(out);
            const int first = task * each;
            if (moved)
              for (int w = 0; w < each; ++w)
                shift(space_.tokens[from], x + static_cast<size_t>(w) * channels * kTokens, channels, side, (first + w) / side,
                      (first + w) % side, wanted ? 1 : -1);
            else if (x != window(from, channels, first))
              std::memcpy(x, window(from, channels, first), each * window_bytes(channels));
            whole_block(block, channels, heads, first, each, x);
          });
      current = to;
      shifted = wanted;
    }
    if (!shifted || windows == 1) return current;
    phase(
        windows, [&](int task) { return Target{window(1 - current, channels, task), window_bytes(channels)}; },
        [&](int task, void* out) {
          shift(space_.tokens[current], static_cast<float*>(out), channels, side, task / side, task % side, -1);
        });
    return 1 - current;
  }

  const float* scores_of(const Block& block, int heads, int task) const {
    const size_t pattern = static_cast<size_t>(block.pattern[block.windows == 1 ? 0 : task]);
    return block.scores + pattern * heads * kTokens * kTokens;
  }

  // Windows that one task takes. Where products are fast, one waits for weights that do not fit into the core's own cache:
  // those of the third stage are then read once for two or four of its windows, if there are few threads.
  int together(int windows) const {
    if (!CLAPRT_AMX || windows != kMostTogether) return 1;
    const int threads = space_.team->threads();
    return threads == 1 ? kMostTogether : threads < kMostTogether ? kMostTogether / 2 : 1;
  }

  // Windows through a block, in place: x [windows][channels][64].
  void whole_block(const Block& block, int channels, int heads, int first, int windows, float* x) const {
    const auto rows = [&](const Linear& layer, int count) { return width_of(layer) * static_cast<size_t>(count) * kTokens; };
    const auto normalised = [&](const Norm& norm, const Linear& layer) {
      const size_t step = rows(layer, channels);
      for (int w = 0; w < windows; ++w)
        normalise(x + static_cast<size_t>(w) * channels * kTokens, channels, norm, layer.bytes, scratch_.normalised + w * step);
      return Inputs{scratch_.normalised, windows, step};
    };
    const float* scores[kMostTogether];
    for (int w = 0; w < windows; ++w) scores[w] = scores_of(block, heads, first + w);
    const size_t mixed = rows(block.projection, channels), hidden = rows(block.down, 4 * channels);
    attend_any(tower_.head_width, block, scratch_, normalised(block.attention_norm, block.query), 0, heads, scores, scratch_.mixed,
               mixed);
    add_product(block.projection, {scratch_.mixed, windows, mixed}, 0, channels, channels, x, x);
    widen(block, normalised(block.mlp_norm, block.up), 0, 4 * channels, scratch_.hidden, hidden);
    add_product(block.down, {scratch_.hidden, windows, hidden}, 0, channels, channels, x, x);
  }

  // The one window of the last stage, x [channels][64], divided by heads and channels.
  void last_stage_block(const Block& block, int channels, int heads, float* x) {
    const int each = heads >= 16 ? 2 : 1, width = each * tower_.head_width;
    bool ready = false;  // whether this thread has the normalised window
    const auto normalised = [&](const Norm& norm, bool bytes) {
      if (!ready) normalise(x, channels, norm, bytes, scratch_.normalised);
      ready = true;
      return static_cast<const uint8_t*>(scratch_.normalised);
    };
    const size_t mixed_row = width_of(block.projection) * kTokens, hidden_row = width_of(block.down) * kTokens;
    phase(
        heads / each, [&](int task) { return Target{space_.mixed + task * width * mixed_row, width * mixed_row}; },
        [&](int task, void* out) {
          const float* scores = scores_of(block, heads, 0) + static_cast<size_t>(task) * each * kTokens * kTokens;
          attend_any(tower_.head_width, block, scratch_, {normalised(block.attention_norm, block.query.bytes)}, task * each,
                     (task + 1) * each, &scores, static_cast<uint8_t*>(out), 0);
        });
    const auto add_rows = [&](const Linear& layer, const uint8_t* input) {
      const int rows = channels / 8;
      phase(
          8, [&](int task) { return Target{x + task * rows * kTokens, window_bytes(rows)}; },
          [&](int task, void* out) {
            add_product(layer, {input}, task * rows, (task + 1) * rows, channels, x + task * rows * kTokens,
                        static_cast<float*>(out));
          });
    };
    add_rows(block.projection, space_.mixed);
    ready = false;
    const int rows = channels / 4;
    phase(
        16, [&](int task) { return Target{space_.hidden + task * rows * hidden_row, rows * hidden_row}; },
        [&](int task, void* out) {
          const Inputs inputs{normalised(block.mlp_norm, block.up.bytes)};
          widen(block, inputs, task * rows, (task + 1) * rows, static_cast<uint8_t*>(out), 0);
        });
    add_rows(block.down, space_.hidden);
  }

  int join(int stage, int current) {
    const int channels = tower_.dim << stage, side = 8 >> stage, next = side / 2, parts = next > 1 ? 1 : 8;
    const int rows = 2 * channels / parts;
    const Merge& merging = tower_.merge[stage];
    int ready = -1;  // the window that this thread has joined and normalised
    phase(
        next * next * parts,
        [&](int task) {
          return Target{window(1 - current, 2 * channels, task / parts) + task % parts * rows * kTokens, window_bytes(rows)};
        },
        [&](int task, void* out) {
          const int index = task / parts, begin = task % parts * rows;
          if (ready != index) {
            merge(space_.tokens[current], scratch_.wide, channels, side, index / next, index % next);
            normalise(scratch_.wide, 4 * channels, merging.norm, merging.reduction.bytes, scratch_.hidden);
            ready = index;
          }
          multiply(merging.reduction, {scratch_.hidden}, begin, begin + rows, [&](int, int n, const Floats(&value)[4][kVectors]) {
            store_input(false, static_cast<uint8_t*>(out), n - begin, value);
          });
        });
    return 1 - current;
  }

  void tail(int current) {
    const int channels = 8 * tower_.dim, joint = tower_.joint, share = joint / 4;
    phase(
        1, [&](int) { return Target{space_.pooled, channels * sizeof(float)}; },
        [&](int, void* out) {
          const float* x = window(current, channels, 0);
          const Moments of = moments(x, channels);
          for (int d = 0; d < channels; ++d) {
            Floats sum = zero();
            for (int v = 0; v < kVectors; ++v) sum = add(sum, fms(load(x + d * kTokens + 16 * v), of.inverse[v], of.shift[v]));
            static_cast<float*>(out)[d] = sum_of(sum) / kTokens * tower_.norm.weight[d] + tower_.norm.bias[d];
          }
        });
    const auto head = [&](const float* weight, const float* bias, const float* input, int inputs, float* output, bool positive) {
      phase(
          4, [&](int task) { return Target{output + task * share, share * sizeof(float)}; },
          [&](int task, void* out) {
            for (int n = task * share; n < (task + 1) * share; ++n) {
              Floats even = zero(), odd = zero();
              for (int k = 0; k < inputs; k += 32) {
                even = fma(load(weight + static_cast<size_t>(n) * inputs + k), load(input + k), even);
                odd = fma(load(weight + static_cast<size_t>(n) * inputs + k + 16), load(input + k + 16), odd);
              }
              const float y = sum_of(add(even, odd)) + bias[n];
              static_cast<float*>(out)[n - task * share] = positive && y < 0 ? 0 : y;
            }
          });
    };
    head(tower_.head1, tower_.head1_bias, space_.pooled, channels, space_.joint[0], true);
    head(tower_.head2, tower_.head2_bias, space_.joint[0], joint, space_.joint[1], false);
    if (member_.worker != 0) return;
    double square = 0;
    for (int d = 0; d < joint; ++d) square += static_cast<double>(space_.joint[1][d]) * space_.joint[1][d];
    const double length = std::sqrt(square);
    const float inverse = static_cast<float>(1 / (length > 1e-12 ? length : 1e-12));
    for (int d = 0; d < joint; ++d) space_.embedding[d] = space_.joint[1][d] * inverse;
  }

  Workspace& space_;
  const Tower& tower_;
  const Scratch& scratch_;
  Team::Member member_;
};

static void sum_bytes(const Linear& layer, const uint8_t* input, int32_t* sums) {
#if CLAPRT_AMX
  const Tiles tiles;
#endif
  sum_products(layer, {input}, 0, layer.outputs, [&](int, int n, const Ints(&sum)[4][kVectors]) {
    for (int r = 0; r < 4; ++r)
      for (int v = 0; v < kVectors; ++v) store_ints(sums + (n + r) * kTokens + 16 * v, sum[r][v]);
  });
}

static void gelu_of(const float (&table)[3][kSegments], const float* x, float* y, int count) {
  Floats low[3], high[3];
  load_gelu(table, low, high);
  for (int i = 0; i < count; i += 16) store(y + i, gelu(load(x + i), low, high));
}

static void run(void* workspace, int worker) {
  const Arithmetic arithmetic;
#if CLAPRT_AMX
  const Tiles tiles;
#endif
  Part(*static_cast<Workspace*>(workspace), worker).run();
}
