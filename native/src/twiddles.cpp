#include "twiddles.h"

#include <cmath>

namespace claprt {
namespace {

constexpr int kShift = 5, kMask = (1 << kShift) - 1;

// exp(2 pi i x / kTransform) for x up to half a turn, by an angle of at most an eighth of one.
Factor exact(int x) {
  const double angle = 0.25L * 3.141592653589793238462643383279502884197L / kTransform;
  constexpr int n = kTransform;
  x *= 8;
  if (x == 4 * n) return {-1, -0.0};
  if (x < n) return {std::cos(x * angle), std::sin(x * angle)};
  if (x < 2 * n) return {std::sin((2 * n - x) * angle), std::cos((2 * n - x) * angle)};
  x -= 2 * n;
  if (x < n) return {-std::sin(x * angle), std::cos(x * angle)};
  return {-std::cos((2 * n - x) * angle), std::sin((2 * n - x) * angle)};
}

// Products of two exact ones, as pocketfft makes its factors: those of the first half turn, and their conjugates.
struct Table {
  Factor factor[kTransform];

  Table() {
    for (int k = 0; k < kTransform; ++k) {
      const bool mirrored = 2 * k > kTransform;
      const int x = mirrored ? kTransform - k : k;
      const Factor fine = exact(x & kMask), coarse = exact(x & ~kMask);
      factor[k].real = fine.real * coarse.real - fine.imaginary * coarse.imaginary;
      const double imaginary = fine.real * coarse.imaginary + fine.imaginary * coarse.real;
      factor[k].imaginary = mirrored ? -imaginary : imaginary;
    }
  }
};

}  // namespace

const Factor* twiddles() {
  static const Table table;
  return table.factor;
}

}  // namespace claprt
