// GELU, and the first layer of an MLP with it, for kernels.h.

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

// GELU of the first layer of an MLP, for outputs from begin to end; hidden begins at `begin`, and its windows lie `step` bytes
// apart.
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
