// Attention by vectors, for kernels.h: in bfloat16 where the processor has its products, else in float32.

// Heads from first to last of one window; mixed begins at the first of them.
template <int kWidth>
static void attend_window(const Block& block, const Scratch& scratch, const uint8_t* input, int first, int last,
                          const float* scores, uint8_t* mixed) {
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

// Heads from first to last of windows; scores[window] and mixed begin at the first of them, and windows of mixed lie `step`
// bytes apart.
template <int kWidth>
static void attend(const Block& block, const Scratch& scratch, const Inputs& inputs, int first, int last,
                   const float* const* scores, uint8_t* mixed, size_t step) {
  for (int window = 0; window < inputs.windows; ++window)
    attend_window<kWidth>(block, scratch, inputs.first + window * inputs.step, first, last, scores[window],
                          mixed + window * step);
}
