// Attention by AMX, for kernels.h: scores and mixed values are products of tiles in bfloat16. Other bits than those of
// AVX-512 BF16, whose sums are in another order.

// Scores [key 64][query 64] of one head: start + keys x queries, both rows of channel pairs [16 parts][64].
template <int kParts>
static void score(const float* start, const float* keys, const float* queries, float* scores) {
  constexpr int kRow = 4 * kTokens;
  alignas(64) float key[kParts * kTokens * 16];  // [part][64][16 pairs]
  for (int part = 0; part < kParts; ++part)
    for (int v = 0; v < kVectors; ++v)
      transpose(keys + part * 16 * kTokens + 16 * v, kTokens, key + (part * kTokens + 16 * v) * 16, 16);
  before_tiles();
  for (int j = 0; j < kTokens; j += 32)
    for (int v = 0; v < kVectors; v += 2) {
      const int at = j * kTokens + 16 * v, below = at + 16 * kTokens;
      _tile_loadd(0, start + at, kRow);
      _tile_loadd(1, start + at + 16, kRow);
      _tile_loadd(2, start + below, kRow);
      _tile_loadd(3, start + below + 16, kRow);
      CLAPRT_UNROLL
      for (int part = 0; part < kParts; ++part) {
        _tile_loadd(4, key + (part * kTokens + j) * 16, 64);
        _tile_loadd(5, key + (part * kTokens + j + 16) * 16, 64);
        _tile_loadd(6, queries + part * 16 * kTokens + 16 * v, kRow);
        _tile_loadd(7, queries + part * 16 * kTokens + 16 * v + 16, kRow);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      _tile_stored(0, scores + at, kRow);
      _tile_stored(1, scores + at + 16, kRow);
      _tile_stored(2, scores + below, kRow);
      _tile_stored(3, scores + below + 16, kRow);
    }
}

// The largest of each query's scores. Prefetches the scores that the next head starts with: they are read once, from memory.
static void find_most(const float* scores, const float* next, Floats (&most)[kVectors]) {
  CLAPRT_UNROLL
  for (int v = 0; v < kVectors; ++v) most[v] = load(scores + 16 * v);
  for (int j = 0; j < kTokens; ++j) {
    CLAPRT_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      most[v] = larger(most[v], load(scores + j * kTokens + 16 * v));
      prefetch_far(next + j * kTokens + 16 * v);
    }
  }
}

// Values [channels 16][64] mixed by weights: rows of channels, pairs of keys, and pairs of keys [key / 2][query 64].
static void mix(const float* values, const float* weights, float* mixed) {
  constexpr int kRow = 4 * kTokens;
  before_tiles();
  _tile_loadd(4, values, 2 * kTokens);
  _tile_loadd(5, values + 16, 2 * kTokens);
  for (int v = 0; v < kVectors; v += 2) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(6, weights + 16 * v, kRow);
    _tile_loadd(7, weights + 16 * v + 16, kRow);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(6, weights + 16 * kTokens + 16 * v, kRow);
    _tile_loadd(7, weights + 16 * kTokens + 16 * v + 16, kRow);
    _tile_dpbf16ps(0, 5, 6);
    _tile_dpbf16ps(1, 5, 7);
    _tile_stored(0, mixed + 16 * v, kRow);
    _tile_stored(1, mixed + 16 * v + 16, kRow);
  }
}

// Heads from first to last of windows; starts[window] and mixed begin at the first of them, and windows of mixed lie `step`
// bytes apart. Two heads at a time, so that no part waits for the tiles of the one before it.
template <int kWidth>
static void attend(const Block& block, const Scratch& scratch, const Inputs& inputs, int first, int last,
                   const float* const* starts, uint8_t* mixed, size_t step) {
  constexpr int kHeads = kWidth == 64 ? 1 : 2;  // whose rows are whole tiles
  constexpr int kParts = (kWidth + 31) / 32;    // tiles of a head's channels; behind its channels are zeros
  constexpr int kHead = kParts * 16 * kTokens;  // of a head's queries or keys
  constexpr int kWindow = kHeads * kHead;
  constexpr size_t kSquare = static_cast<size_t>(kTokens) * kTokens;
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
    const int units = inputs.windows * heads;  // unit: window * heads + head
    const auto start_of = [&](int unit) { return starts[unit / heads] + (group - first + unit % heads) * kSquare; };
    for (int unit = 0; unit < units; unit += 2) {
      const int count = units - unit < 2 ? 1 : 2;
      Floats most[kVectors], inverse[2][kVectors];
      for (int u = 0; u < count; ++u) {
        const int place = (unit + u) / heads * kWindow + (unit + u) % heads * kHead;
        score<kParts>(start_of(unit + u), scratch.key + place, scratch.query + place, scratch.scores + u * kSquare);
      }
      for (int u = 0; u < count; ++u) {
        const int ahead = unit + 2 + u;
        const float* next = ahead < units ? start_of(ahead) : starts[0] + (group - first + heads + u) * kSquare;
        find_most(scratch.scores + u * kSquare, next, most);
        soften(scratch.scores + u * kSquare, most, scratch.weights + u * kSquare, inverse[u]);
        CLAPRT_UNROLL
        for (int v = 0; v < kVectors; ++v) inverse[u][v] = mul(inverse[u][v], scale);
      }
      for (int u = 0; u < count; ++u) {
        const int window = (unit + u) / heads, channel = (unit + u) % heads * kWidth;
        for (int d = 0; d < kWidth; d += 16)
          mix(scratch.value + window * kWindow + (channel + d) * (kTokens / 2), scratch.weights + u * kSquare,
              scratch.scores + u * kSquare + d * kTokens);
      }
      for (int u = 0; u < count; ++u) {
        const int window = (unit + u) / heads, channel = (group - first + (unit + u) % heads) * kWidth;
        for (int d = 0; d < kWidth; d += 4) {
          Floats sum[4][kVectors];
          CLAPRT_UNROLL
          for (int r = 0; r < 4; ++r) {
            CLAPRT_UNROLL
            for (int v = 0; v < kVectors; ++v)
              sum[r][v] = fma(load(scratch.scores + u * kSquare + (d + r) * kTokens + 16 * v), inverse[u][v], offset);
          }
          store_input(bytes, mixed + window * step, channel + d, sum);
        }
      }
    }
  }
}
