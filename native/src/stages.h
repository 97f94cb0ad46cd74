// The blocks of a stage, and the merging between stages, for kernels.h.

class Stages : Section {
 public:
  explicit Stages(Part& part) : Section(part) {}

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
            whole_block(block, channels, heads, first, each, moved ? x : window(from, channels, first), x);
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

  // The merging of a stage into the next one; gives the buffer of the result.
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

 private:
  const float* scores_of(const Block& block, int heads, int task) const {
    const size_t pattern = static_cast<size_t>(block.pattern[block.windows == 1 ? 0 : task]);
    return block.scores + pattern * heads * kTokens * kTokens;
  }

  // Windows that one task takes. With AMX, products wait for weights that do not fit into the core's own cache: those of the
  // third stage are read once for two or four of its windows, if there are few threads.
  int together(int windows) const {
    if (!CLAPRT_AMX || windows != kMostTogether) return 1;
    const int threads = space_.team->threads();
    return threads == 1 ? kMostTogether : threads < kMostTogether ? kMostTogether / 2 : 1;
  }

  // Windows through a block, from and x [windows][channels][64], which may be the same.
  void whole_block(const Block& block, int channels, int heads, int first, int windows, const float* from, float* x) const {
    const auto rows = [&](const Linear& layer, int count) { return width_of(layer) * static_cast<size_t>(count) * kTokens; };
    const auto normalised = [&](const float* tokens, const Norm& norm, const Linear& layer) {
      const size_t step = rows(layer, channels);
      for (int w = 0; w < windows; ++w)
        normalise(tokens + static_cast<size_t>(w) * channels * kTokens, channels, norm, layer.bytes, scratch_.normalised + w * step);
      return Inputs{scratch_.normalised, windows, step};
    };
    const float* scores[kMostTogether];
    for (int w = 0; w < windows; ++w) scores[w] = scores_of(block, heads, first + w);
    const size_t mixed = rows(block.projection, channels), hidden = rows(block.down, 4 * channels);
    attend_any(tower_.head_width, block, scratch_, normalised(from, block.attention_norm, block.query), 0, heads, scores, scratch_.mixed,
               mixed);
    add_product(block.projection, {scratch_.mixed, windows, mixed}, 0, channels, channels, from, x);
    widen(block, normalised(x, block.mlp_norm, block.up), 0, 4 * channels, scratch_.hidden, hidden);
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
};
