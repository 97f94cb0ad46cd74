// What moves between windows, for kernels.h: shifted blocks, and the merging of patches.

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
