// Products of bytes by vectors, for kernels.h.

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
