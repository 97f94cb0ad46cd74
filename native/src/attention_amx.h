// Attention by AMX, for kernels.h: scores and mixed values are products of tiles in bfloat16. Other bits than those of
// AVX-512 BF16, whose sums are in another order.

// Rows of channel pairs [16][64 tokens] to rows of tokens [64][16 channel pairs].
static void transpose_pairs(const float* from, float* to) {
  for (int v = 0; v < kVectors; ++v) transpose(from + 16 * v, kTokens, to + 16 * v * 16, 16);
}

// Heads from first to last of windows; scores[window] and mixed begin at the first of them, and windows of mixed lie `step` bytes
// apart.
template <int kWidth>
static void attend(const Block& block, const Scratch& scratch, const Inputs& inputs, int first, int last,
                   const float* const* scores_of, uint8_t* mixed_of, size_t step) {
  constexpr int kHeads = kWidth % kBlockRows == 0 ? 1 : 2;   // heads at a time, whose rows are whole tiles
  constexpr int kParts = (kWidth + 31) / 32;                 // tiles of a head's channels; behind them are zeros
  constexpr int kHead = kParts * 16 * kTokens;               // of a head's queries or keys, in pairs
  constexpr int kWindow = kHeads * kHead;
  constexpr int kRow = 4 * kTokens;
  const bool bytes = block.projection.bytes;
  const Floats scale = all(bytes ? block.mixed_inverse : 1.f), offset = all(bytes ? block.mixed_zero : 0.f);
  for (int group = first; group < last; group += kHeads) {
    const int begin = group * kWidth, heads = last - group < kHeads ? last - group : kHeads, end = begin + heads * kWidth;
    // queries and keys: rows of channel pairs; values: rows of channels, pairs of keys
    const auto into = [begin](float* rows) {
      return [rows, begin](int window, int n, const Floats(&sum)[4][kVectors]) {
        const int head = (n - begin) / kWidth, channel = (n - begin) % kWidth;
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          float* at = rows + window * kWindow + head * kHead + channel / 2 * kTokens + 16 * v;
          store_ints(at, bf16_pairs(sum[0][v], sum[1][v]));
          store_ints(at + kTokens, bf16_pairs(sum[2][v], sum[3][v]));
        }
      };
    };
    multiply(block.query, inputs, begin, end, into(scratch.query));
    multiply(block.key, inputs, begin, end, into(scratch.key));
    multiply(block.value, inputs, begin, end, [&](int window, int n, const Floats(&sum)[4][kVectors]) {
      CLAPRT_UNROLL
      for (int r = 0; r < 4; ++r) {
        float* at = scratch.value + window * kWindow + (n - begin + r) * (kTokens / 2);
        store_ints(at, bf16_row(sum[r][0], sum[r][1]));
        store_ints(at + 16, bf16_row(sum[r][2], sum[r][3]));
      }
    });
    for (int each = 0; each < inputs.windows * heads; ++each) {
      const int window = each / heads, head = each % heads;
      const float* scores = scores_of[window] + static_cast<size_t>(group - first + head) * kTokens * kTokens;
      const float *query = scratch.query + window * kWindow + head * kHead, *values_of = scratch.value + window * kWindow;
      uint8_t* mixed = mixed_of + window * step;
      alignas(64) float key[kHead];  // [part][64][16 pairs]
      CLAPRT_UNROLL
      for (int part = 0; part < kParts; ++part)
        transpose_pairs(scratch.key + window * kWindow + head * kHead + part * 16 * kTokens, key + part * 16 * kTokens);
      for (int j = 0; j < kTokens; j += 32)
        for (int v = 0; v < kVectors; v += 2) {
          const int at = j * kTokens + 16 * v;
          _tile_loadd(0, scores + at, kRow);
          _tile_loadd(1, scores + at + 16, kRow);
          _tile_loadd(2, scores + at + 16 * kTokens, kRow);
          _tile_loadd(3, scores + at + 16 * kTokens + 16, kRow);
          CLAPRT_UNROLL
          for (int part = 0; part < kParts; ++part) {
            const float *keys = key + (part * kTokens + j) * 16, *queries = query + part * 16 * kTokens + 16 * v;
            _tile_loadd(4, keys, 64);
            _tile_loadd(5, keys + 16 * 16, 64);
            _tile_loadd(6, queries, kRow);
            _tile_loadd(7, queries + 16, kRow);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
          }
          _tile_stored(0, scratch.scores + at, kRow);
          _tile_stored(1, scratch.scores + at + 16, kRow);
          _tile_stored(2, scratch.scores + at + 16 * kTokens, kRow);
          _tile_stored(3, scratch.scores + at + 16 * kTokens + 16, kRow);
        }
      // those of the head after it, which are read once and lie in a far cache
      const float* next = head + 1 < heads || inputs.windows == 1 ? scores + kTokens * kTokens
                          : window + 1 < inputs.windows           ? scores_of[window + 1] + static_cast<size_t>(group - first) * kTokens * kTokens
                                                                  : scores_of[0] + static_cast<size_t>(group - first + heads) * kTokens * kTokens;
      Floats most[kVectors], inverse[kVectors];
      CLAPRT_UNROLL
      for (int v = 0; v < kVectors; ++v) most[v] = load(scratch.scores + 16 * v);
      for (int j = 1; j < kTokens; ++j) {
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) {
          most[v] = larger(most[v], load(scratch.scores + j * kTokens + 16 * v));
          prefetch_far(next + j * kTokens + 16 * v);
        }
      }
      soften(scratch.scores, most, scratch.weights, inverse);
      CLAPRT_UNROLL
      for (int v = 0; v < kVectors; ++v) inverse[v] = mul(inverse[v], scale);
      float* sums = scratch.scores;  // [channels, in whole tiles][64]
      for (int d = 0; d < kWidth; d += 16) {
        const float* values = values_of + (head * kWidth + d) * (kTokens / 2);
        _tile_loadd(4, values, 2 * kTokens);
        _tile_loadd(5, values + 16, 2 * kTokens);
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; v += 2) {
          const float* weights = scratch.weights + 16 * v;
          _tile_zero(0);
          _tile_zero(1);
          _tile_loadd(6, weights, kRow);
          _tile_loadd(7, weights + 16, kRow);
          _tile_dpbf16ps(0, 4, 6);
          _tile_dpbf16ps(1, 4, 7);
          _tile_loadd(6, weights + 16 * kTokens, kRow);
          _tile_loadd(7, weights + 16 * kTokens + 16, kRow);
          _tile_dpbf16ps(0, 5, 6);
          _tile_dpbf16ps(1, 5, 7);
          _tile_stored(0, sums + d * kTokens + 16 * v, kRow);
          _tile_stored(1, sums + d * kTokens + 16 * v + 16, kRow);
        }
      }
      for (int d = 0; d < kWidth; d += 4) {
        Floats sum[4][kVectors];
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(load(sums + (d + r) * kTokens + 16 * v), inverse[v], offset);
        }
        store_input(bytes, mixed, (group - first + head) * kWidth + d, sum);
      }
    }
  }
}
