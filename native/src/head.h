// From the tokens of the last stage to the unit vector, for kernels.h.

class Head : Section {
 public:
  explicit Head(Part& part) : Section(part) {}

  void run(int current) {
    const int channels = 8 * tower_.dim, joint = tower_.joint, share = joint / 4;
    phase(
        1, [&](int) { return Target{space_.pooled, channels * sizeof(float)}; },
        [&](int, void* out) {
          const float* x = window(current, channels, 0);
          const Moments of = moments(x, channels);
          for (int d = 0; d < channels; ++d) {
            Floats sum = zero();
            for (int v = 0; v < kVectors; ++v) sum = add(sum, fms(load(x + d * kTokens + 16 * v), of.inverse[v], of.shift[v]));
            static_cast<float*>(out)[d] = sum_of(sum) / kTokens * tower_.norm.weight[d] + tower_.norm.bias[d];
          }
        });
    const auto head = [&](const float* weight, const float* bias, const float* input, int inputs, float* output, bool positive) {
      phase(
          4, [&](int task) { return Target{output + task * share, share * sizeof(float)}; },
          [&](int task, void* out) {
            for (int n = task * share; n < (task + 1) * share; ++n) {
              Floats even = zero(), odd = zero();
              for (int k = 0; k < inputs; k += 32) {
                even = fma(load(weight + static_cast<size_t>(n) * inputs + k), load(input + k), even);
                odd = fma(load(weight + static_cast<size_t>(n) * inputs + k + 16), load(input + k + 16), odd);
              }
              const float y = sum_of(add(even, odd)) + bias[n];
              static_cast<float*>(out)[n - task * share] = positive && y < 0 ? 0 : y;
            }
          });
    };
    head(tower_.head1, tower_.head1_bias, space_.pooled, channels, space_.joint[0], true);
    head(tower_.head2, tower_.head2_bias, space_.joint[0], joint, space_.joint[1], false);
    if (part_.member.worker != 0) return;
    double square = 0;
    for (int d = 0; d < joint; ++d) square += static_cast<double>(space_.joint[1][d]) * space_.joint[1][d];
    const double length = std::sqrt(square);
    const float inverse = static_cast<float>(1 / (length > 1e-12 ? length : 1e-12));
    for (int d = 0; d < joint; ++d) space_.embedding[d] = space_.joint[1][d] * inverse;
  }
};
