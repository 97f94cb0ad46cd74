// Products of bytes by AMX, for kernels.h: a tile of weights is 16 outputs by 64 inputs, a tile of activations 64 inputs by 16
// tokens, and that of their sums 16 outputs by 16 tokens. Every layer has tiles of the same shape: where a layer has not a
// multiple of 64 inputs, its weights end in zeros, and what lies behind its input is multiplied by them.

// The calling thread's tiles, all of 16 rows of 64 bytes, from here to the end of the scope.
class Tiles {
 public:
  Tiles() {
    struct {
      uint8_t palette = 1, start = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    _tile_loadconfig(&shape);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// What was stored is in memory before tiles are loaded: to g++ a tile's load is not a use of what it loads.
CLAPRT_INLINE void before_tiles() { asm volatile("" ::: "memory"); }

// Sums of 16 or 32 outputs, whose weights begin at `weight`, and all tokens: sums [outputs][64]. `lines` cache lines from
// `ahead` are prefetched with each pair of tiles.
template <bool kTwo>
CLAPRT_INLINE void sum_tiles(const int8_t* weight, int blocks, const uint8_t* input, int32_t* sums, const int8_t* ahead,
                             int lines) {
  constexpr int kRow = 4 * kTokens;
  const int8_t* second = weight + static_cast<size_t>(blocks) * kBlockBytes;
  before_tiles();
  for (int v = 0; v < kVectors; v += 2) {
    _tile_zero(0);
    _tile_zero(1);
    if (kTwo) _tile_zero(2);
    if (kTwo) _tile_zero(3);
    const uint8_t* x = input + 64 * v;
    for (int block = 0; block < blocks; ++block, x += kBlockQuads * kRow) {
      for (int line = 0; line < lines; ++line, ahead += 64) prefetch_far(ahead);
      _tile_loadd(4, weight + block * kBlockBytes, 64);
      _tile_loadd(6, x, kRow);
      _tile_dpbsud(0, 4, 6);
      _tile_loadd(7, x + 64, kRow);
      _tile_dpbsud(1, 4, 7);
      if (kTwo) {
        _tile_loadd(5, second + block * kBlockBytes, 64);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
      }
    }
    _tile_stored(0, sums + 16 * v, kRow);
    _tile_stored(1, sums + 16 * v + 16, kRow);
    if (kTwo) _tile_stored(2, sums + kBlockRows * kTokens + 16 * v, kRow);
    if (kTwo) _tile_stored(3, sums + kBlockRows * kTokens + 16 * v + 16, kRow);
  }
}

// Calls take(window, n, sums) for every window and every four outputs n … n + 3 from begin to end with their sums of products
// [4 outputs][4 vectors]. Weights are read once for all windows; those of the next outputs are prefetched meanwhile.
template <class Take>
CLAPRT_INLINE void sum_products(const Linear& layer, const Inputs& inputs, int begin, int end, const Take& take) {
  constexpr int kRows = 2 * kBlockRows;
  alignas(64) int32_t sums[kRows * kTokens];
  const int blocks = (layer.inputs / 4 + kBlockQuads - 1) / kBlockQuads, lines = kBlockBytes / 64 / inputs.windows;
  for (int n = begin / kBlockRows * kBlockRows; n < end; n += kRows) {
    const int8_t* rows = static_cast<const int8_t*>(layer.weight) + static_cast<size_t>(n) * blocks * 4 * kBlockQuads;
    const int8_t* ahead = rows + static_cast<size_t>(blocks) * 2 * kBlockBytes;
    const int last = n + kRows < end ? n + kRows : end;
    for (int window = 0; window < inputs.windows; ++window, ahead += static_cast<size_t>(blocks) * 2 * lines * 64) {
      const uint8_t* input = inputs.first + window * inputs.step;
      if (n + kBlockRows < end)
        sum_tiles<true>(rows, blocks, input, sums, ahead, lines);
      else
        sum_tiles<false>(rows, blocks, input, sums, ahead, 0);
      for (int m = n < begin ? begin : n; m < last; m += 4) {
        Ints sum[4][kVectors];
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          const Ints start = all_ints(layer.start[m + r]);
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v) sum[r][v] = add_ints(load_ints(sums + (m - n + r) * kTokens + 16 * v), start);
        }
        take(window, m, sum);
      }
    }
  }
}
