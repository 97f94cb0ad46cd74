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

// Sums of 16 or 32 outputs, which begin at `weight`, and all tokens: sums [outputs][64].
template <bool kTwo>
CLAPRT_INLINE void sum_tiles(const int8_t* weight, int blocks, const uint8_t* input, int32_t* sums) {
  constexpr int kTile = kBlockRows * kBlockQuads * 4, kRow = 4 * kTokens;
  const int8_t* second = weight + static_cast<size_t>(blocks) * kTile;
  for (int v = 0; v < kVectors; v += 2) {
    _tile_zero(0);
    _tile_zero(1);
    if (kTwo) _tile_zero(2);
    if (kTwo) _tile_zero(3);
    const uint8_t* x = input + 64 * v;
    for (int block = 0; block < blocks; ++block, x += kBlockQuads * kRow) {
      _tile_loadd(4, weight + block * kTile, 64);
      _tile_loadd(6, x, kRow);
      _tile_dpbsud(0, 4, 6);
      _tile_loadd(7, x + 64, kRow);
      _tile_dpbsud(1, 4, 7);
      if (kTwo) {
        _tile_loadd(5, second + block * kTile, 64);
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
// [4 outputs][4 vectors]. Weights are read once for all windows.
template <class Take>
CLAPRT_INLINE void sum_products(const Linear& layer, const Inputs& inputs, int begin, int end, const Take& take) {
  alignas(64) int32_t sums[2 * kBlockRows * kTokens];
  const int blocks = (layer.inputs / 4 + kBlockQuads - 1) / kBlockQuads;
  const int8_t* weight = static_cast<const int8_t*>(layer.weight);
  for (int n = begin / kBlockRows * kBlockRows; n < end; n += 2 * kBlockRows) {
    const int8_t* rows = weight + static_cast<size_t>(n) * blocks * kBlockQuads * 4;
    const int last = n + 2 * kBlockRows < end ? n + 2 * kBlockRows : end;
    for (int window = 0; window < inputs.windows; ++window) {
      const uint8_t* input = inputs.first + window * inputs.step;
      if (n + kBlockRows < end)
        sum_tiles<true>(rows, blocks, input, sums);
      else
        sum_tiles<false>(rows, blocks, input, sums);
      for (int m = n < begin ? begin : n; m < last; m += 4) {
        Ints sum[4][kVectors];
        CLAPRT_UNROLL
        for (int r = 0; r < 4; ++r) {
          const Ints start = all_ints(layer.start[m + r]);
          CLAPRT_UNROLL
          for (int v = 0; v < kVectors; ++v)
            sum[r][v] = add_ints(load_ints(sums + (m - n + r) * kTokens + 16 * v), start);
        }
        take(window, m, sum);
      }
    }
  }
}
