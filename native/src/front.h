// From log-mels to the tokens of the first stage, for kernels.h.

class Front : Section {
 public:
  explicit Front(Part& part) : Section(part) {}

  void run() {
    const int views = tower_.views > 1 && part_.member.flag ? tower_.views : 1, rows = kImage / 8;
    const auto image = [&](int task) { return space_.image + static_cast<size_t>(task) * rows * kMels; };
    phase(
        8 * views, [&](int task) { return Target{image(task), rows * kMels * sizeof(float)}; },
        [&](int task, void* out) { resize(task / 8, task % 8 * rows, rows, static_cast<float*>(out)); });
    const int dim = tower_.dim;
    const auto tokens = [&](int task) { return Target{window(0, dim, task), window_bytes(dim)}; };
    if (views == 1) {
      phase(kWindows, tokens, [&](int task, void* out) {
        float* x = static_cast<float*>(out);
        patches(task, x);
        norm_in_place(x);
      });
      return;
    }
    const size_t both = static_cast<size_t>(2) * dim * kTokens + 2 * dim;
    const auto views_of = [&](int task) { return space_.views + task * both; };
    phase(
        kWindows, [&](int task) { return Target{views_of(task), both * sizeof(float)}; },
        [&](int task, void* out) {
          float *x = static_cast<float*>(out), *y = x + dim * kTokens, *sums = y + dim * kTokens;
          patches(task, x);
          local_patches(task, y);
          for (int d = 0; d < dim; ++d) {
            Floats sum = zero();
            for (int v = 0; v < kVectors; ++v)
              sum = add(sum, add(load(x + d * kTokens + 16 * v), load(y + d * kTokens + 16 * v)));
            sums[d] = sum_of(sum);
          }
        });
    phase(
        1, [&](int) { return Target{space_.overall, dim * sizeof(float)}; },
        [&](int, void* out) { weigh_all(views_of, static_cast<float*>(out)); });
    phase(kWindows, tokens, [&](int task, void* out) {
      float* x = static_cast<float*>(out);
      fuse(views_of(task), x);
      norm_in_place(x);
    });
  }

 private:
  // Rows of the image of one view: normalised log-mels, each row made of four frames.
  void resize(int view, int begin, int count, float* out) const {
    const float* frames = space_.log_mels + static_cast<size_t>(view) * tower_.frames * kMels;
    for (int row = begin; row < begin + count; ++row, out += kMels)
      for (int v = 0; v < kMels / 16; ++v) {
        const Floats scale = load(tower_.mel_scale + 16 * v), offset = load(tower_.mel_shift + 16 * v);
        Floats sum = zero();
        for (int tap = 0; tap < 4; ++tap) {
          const float* frame = frames + static_cast<size_t>(tower_.first[row] + tap) * kMels;
          sum = fma(fma(load(frame + 16 * v), scale, offset), all(tower_.taps[row * 4 + tap]), sum);
        }
        store(out + 16 * v, sum);
      }
  }

  // The first stage's window `task` [dim][64], before normalisation. Windows: band, row, column.
  void patches(int task, float* out) const {
    const int band = task / 16, row = task / 8 % 2, column = task % 8;
    float* pixels = scratch_.wide;  // [pixel 16][64]
    for (int c = 0; c < 8; ++c)
      for (int t = 0; t < 4; ++t) {
        const float* mels = space_.image + (band * 256 + column * 32 + c * 4 + t) * kMels + row * 32;
        for (int r = 0; r < 8; ++r)
          for (int m = 0; m < 4; ++m) pixels[(m * 4 + t) * kTokens + r * 8 + c] = mels[r * 4 + m];
      }
    project(tower_.patch, pixels, out);
  }

  // The same of the local views, which lie one after the other along time; the last column is empty.
  void local_patches(int task, float* out) const {
    const int band = task / 16, row = task / 8 % 2, column = task % 8;
    float* pixels = scratch_.wide;  // [pixel 48][64]
    for (int c = 0; c < 8; ++c) {
      const int wide = column * 8 + c, view = 1 + wide / kLocalColumns, place = wide % kLocalColumns;
      for (int t = 0; t < 12; ++t) {
        const size_t line = static_cast<size_t>(view) * kImage + band * 256 + place * 12 + t;
        const float* mels = space_.image + line * kMels + row * 32;
        for (int r = 0; r < 8; ++r)
          for (int m = 0; m < 4; ++m)
            pixels[(m * 12 + t) * kTokens + r * 8 + c] = view < tower_.views ? mels[r * 4 + m] : 0.f;
      }
    }
    project(tower_.fusion.local, pixels, out);
    if (column == 7)
      for (int d = 0; d < tower_.dim; ++d)
        for (int r = 0; r < 8; ++r) out[d * kTokens + r * 8 + 7] = 0.f;
  }

  static void project(const Linear& layer, const float* input, float* out) {
    multiply_floats(layer, floats(input), 0, layer.outputs, [&](int, int n, const Floats(&value)[4][kVectors]) {
      store_input(false, reinterpret_cast<uint8_t*>(out), n, value);
    });
  }

  void norm_in_place(float* x) const {
    normalise(x, tower_.dim, tower_.patch_norm, false, reinterpret_cast<uint8_t*>(x));
  }

  // The part of the gate that sees the mean of all tokens.
  template <class Views>
  void weigh_all(const Views& views_of, float* out) const {
    const int dim = tower_.dim;
    float *mean = scratch_.wide, *reduced = mean + dim;
    for (int d = 0; d < dim; ++d) {
      float sum = 0;
      for (int task = 0; task < kWindows; ++task) sum += views_of(task)[2 * dim * kTokens + d];
      mean[d] = sum / (kWindows * kTokens);
    }
    product_of_one(tower_.fusion.global_down, mean, reduced);
    for (int d = 0; d < tower_.fusion.global_down.outputs; ++d) reduced[d] = reduced[d] > 0 ? reduced[d] : 0;
    product_of_one(tower_.fusion.global_up, reduced, out);
  }

  static void product_of_one(const Linear& layer, const float* input, float* out) {
    const float* weight = static_cast<const float*>(layer.weight);
    for (int n = 0; n < layer.outputs; ++n) {
      float sum = layer.scale[n];
      for (int k = 0; k < layer.inputs; ++k) sum += input[k] * weight[(static_cast<size_t>(n / 4) * layer.inputs + k) * 4 + n % 4];
      out[n] = sum;
    }
  }

  // 2 g x + 2 (1 - g) y of global tokens x and local tokens y, with the gate g = sigmoid(local_att(x + y) + overall).
  void fuse(const float* x, float* out) const {
    const int dim = tower_.dim;
    const float* y = x + dim * kTokens;
    float *together = scratch_.wide, *reduced = together + dim * kTokens;
    for (int i = 0; i < dim * kTokens; i += 16) store(together + i, add(load(x + i), load(y + i)));
    multiply_floats(tower_.fusion.local_down, floats(together), 0, dim / 4, [&](int, int n, const Floats(&value)[4][kVectors]) {
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < kVectors; ++v) store(reduced + (n + r) * kTokens + 16 * v, larger(value[r][v], zero()));
    });
    multiply_floats(tower_.fusion.local_up, floats(reduced), 0, dim, [&](int, int n, const Floats(&value)[4][kVectors]) {
      for (int r = 0; r < 4; ++r)
        for (int v = 0; v < kVectors; ++v) {
          const size_t at = static_cast<size_t>(n + r) * kTokens + 16 * v;
          const Floats gate = sigmoid(add(value[r][v], all(space_.overall[n + r])));
          const Floats difference = sub(load(x + at), load(y + at));
          const Floats mixed = fma(gate, difference, load(y + at));
          store(out + at, add(mixed, mixed));
        }
    });
  }

  static Floats sigmoid(Floats x) {
    const Floats magnitude = larger(x, sub(zero(), x));
    const Floats e = power_of_two(mul(magnitude, all(-1.44269504f)));  // exp(-|x|)
    const Floats small = divide(e, add(all(1.f), e));                  // of -|x|
    // sigmoid(x) is 1/2 + sign(x) (1/2 - small)
    const Floats sign = smaller(larger(mul(x, all(1e30f)), all(-1.f)), all(1.f));
    return fma(sign, sub(all(0.5f), small), all(0.5f));
  }
};
