// The tower, for one instruction set: included once by each of set_*.cpp, inside a namespace of its own, after vectors_*.h.
//
// Tokens lie in lanes and channels in rows: a window's 64 tokens are four vectors. So normalisation, softmax and the sums of
// products need no reduction across lanes, heads are ranges of rows, and nothing is ever transposed. The residual of a window
// is [channels][64] float32, what a product takes is [channels / 4][64][4] uint8 (or [channels][64] float32).

#include "products.h"
#include "normalisation.h"
#include "attention.h"
#include "gelu.h"
#include "moves.h"
#include "part.h"
#include "front.h"
#include "stages.h"
#include "head.h"
#include "mels.h"

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
  Part part(*static_cast<Workspace*>(workspace), worker);
  Front(part).run();
  Stages stages(part);
  int current = 0;
  for (int stage = 0; stage < kStages; ++stage) {
    current = stages.blocks(stage, current);
    if (stage < kStages - 1) current = stages.join(stage, current);
  }
  Head(part).run(current);
}
