// Powers of mel bands, for kernels.h: what a log-mel is the logarithm of.

#include "spectrum.h"

// Of `count` frames of a signal: mels [count][bands]. The sums over bins are in ascending order and rounded once for each bin,
// as products of matrices have them on processors with FMA.
static void mels_of(const MelBands& bands, const float* signal, int count, void* memory, float* mels) {
  Transform& transform = *static_cast<Transform*>(memory);
  float* power = reinterpret_cast<float*>(&transform + 1);  // [bins][8 frames]
  float sums[8];
  for (int first = 0; first < count; first += 8) {
    const float* frames[8];
    for (int lane = 0; lane < 8; ++lane)
      frames[lane] = signal + static_cast<size_t>(first + lane < count ? first + lane : count - 1) * bands.hop;
    first_passes(frames, bands.window, bands.factors, transform);
    last_passes(bands.factors, transform, bands.bins, [&](int bin, Doubles real, Doubles imaginary) CLAPRT_INLINED {
      store_narrow(power + bin * 8, add(mul(real, real), mul(imaginary, imaginary)));
    });
    const int frames_here = count - first < 8 ? count - first : 8;
    const float* weight = bands.weight;
    for (int band = 0; band < bands.count; weight += bands.length[band], ++band) {
      sum_eight(power + bands.first[band] * 8, weight, bands.length[band], sums);
      for (int lane = 0; lane < frames_here; ++lane) mels[static_cast<size_t>(first + lane) * bands.count + band] = sums[lane];
    }
  }
}
