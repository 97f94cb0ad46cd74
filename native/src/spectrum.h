// Powers of a real Fourier transform of 1024 samples, for log_mel.h: eight frames at a time, one in each lane.
//
// Five passes of radix 4, in which every sum and product of a lane is the one that pocketfft has, which numpy.fft uses: in the
// same order, with the same factors (twiddles.cpp), so the powers are numpy's to the bit. What differs is the order in which
// butterflies are taken. The first three passes of a sixteenth of the samples stay in the core's cache, and so do the last two
// of 16 pairs of numbers.

struct Transform {
  Doubles near[kTransform / 2];  // of the first pass, for eight of the sixteen parts
  Doubles part[kTransform / 16];  // of the second pass
  Doubles whole[kTransform];      // of the third pass: [part 4][quarter 4][64]
};

constexpr double kRootHalf = 0.707106781186547524400844362104849;

// A complex butterfly of four inputs (real, imaginary), three of which are turned by factors, at i of a pass of length `ido`;
// take(quarter, i or ido - i, real, imaginary) takes the results.
template <class Take>
CLAPRT_INLINE void turn(const Doubles (&real)[4], const Doubles (&imaginary)[4], const Factor* factors, int step,
                        const Take& take) {
  Doubles cr[4], ci[4];
  CLAPRT_UNROLL
  for (int c = 1; c < 4; ++c) {
    const Factor factor = factors[c * step];
    const Doubles wr = all_doubles(factor.real), wi = all_doubles(factor.imaginary);
    cr[c] = add(mul(wr, real[c]), mul(wi, imaginary[c]));
    ci[c] = sub(mul(wr, imaginary[c]), mul(wi, real[c]));
  }
  const Doubles tr1 = add(cr[3], cr[1]), tr4 = sub(cr[3], cr[1]);
  const Doubles ti1 = add(ci[1], ci[3]), ti4 = sub(ci[1], ci[3]);
  const Doubles tr2 = add(real[0], cr[2]), tr3 = sub(real[0], cr[2]);
  const Doubles ti2 = add(imaginary[0], ci[2]), ti3 = sub(imaginary[0], ci[2]);
  take(0, add(tr2, tr1), add(ti1, ti2));
  take(3, sub(tr2, tr1), sub(ti1, ti2));
  take(2, add(tr3, ti4), add(tr4, ti3));
  take(1, sub(tr3, ti4), sub(tr4, ti3));
}

// The butterfly of the first number of each input: sum and difference of quarter 0 and 3, and the complex result of 1 and 2.
struct First {
  Doubles sum, difference, real, imaginary;
};
CLAPRT_INLINE First first_of(const Doubles (&x)[4]) {
  const Doubles tr1 = add(x[3], x[1]), tr2 = add(x[0], x[2]);
  return {add(tr2, tr1), sub(tr2, tr1), sub(x[0], x[2]), sub(x[3], x[1])};
}

// The butterfly of the last number of each input: the complex results of quarters 0 and 1, and of 2 and 3.
struct Last {
  Doubles real0, imaginary0, real1, imaginary1;
};
CLAPRT_INLINE Last last_of(const Doubles (&x)[4]) {
  const Doubles half = all_doubles(kRootHalf);
  const Doubles ti1 = mul(all_doubles(-kRootHalf), add(x[1], x[3])), tr1 = mul(half, sub(x[1], x[3]));
  return {add(x[0], tr1), sub(ti1, x[2]), sub(x[0], tr1), add(ti1, x[2])};
}

// One pass of parts of `ido` numbers: from [4][parts apart by `apart`][ido] to [4 ido].
template <int kIdo>
CLAPRT_INLINE void pass(const Doubles* from, int apart, const Factor* factors, Doubles* to) {
  const auto input = [&](int c, int a) CLAPRT_INLINED { return from[c * apart + a]; };
  const Doubles begin[4] = {input(0, 0), input(1, 0), input(2, 0), input(3, 0)};
  const First first = first_of(begin);
  to[0] = first.sum;
  to[3 * kIdo + kIdo - 1] = first.difference;
  to[kIdo + kIdo - 1] = first.real;
  to[2 * kIdo] = first.imaginary;
  const Doubles end[4] = {input(0, kIdo - 1), input(1, kIdo - 1), input(2, kIdo - 1), input(3, kIdo - 1)};
  const Last last = last_of(end);
  to[kIdo - 1] = last.real0;
  to[kIdo] = last.imaginary0;
  to[2 * kIdo + kIdo - 1] = last.real1;
  to[3 * kIdo] = last.imaginary1;
  for (int i = 2; i < kIdo; i += 2) {
    const Doubles real[4] = {input(0, i - 1), input(1, i - 1), input(2, i - 1), input(3, i - 1)};
    const Doubles imaginary[4] = {input(0, i), input(1, i), input(2, i), input(3, i)};
    turn(real, imaginary, factors, kTransform / (4 * kIdo) * (i / 2), [&](int quarter, Doubles re, Doubles im) CLAPRT_INLINED {
      const int at = quarter * kIdo + (quarter % 2 == 0 ? i : kIdo - i);
      to[at - 1] = re;
      to[at] = im;
    });
  }
}

// The first three passes: the samples of eight frames times the window to transform.whole.
static void first_passes(const float* const (&frames)[8], const double* window, const Factor* factors, Transform& transform) {
  constexpr int kQuarter = kTransform / 4;
  for (int k = 0; k < 16; k += 8) {
    for (int m = 0; m < 16; ++m) {
      const int at = k + 16 * m;
      Doubles x[4][8];
      CLAPRT_UNROLL
      for (int c = 0; c < 4; ++c) {
        load_eight(frames, at + c * kQuarter, x[c]);
        CLAPRT_UNROLL
        for (int j = 0; j < 8; ++j) x[c][j] = mul(x[c][j], all_doubles(window[at + c * kQuarter + j]));
      }
      CLAPRT_UNROLL
      for (int j = 0; j < 8; ++j) {
        const Doubles begin[4] = {x[0][j], x[1][j], x[2][j], x[3][j]};
        const First first = first_of(begin);  // of one number each, so quarters 1 and 2 are one result
        Doubles* to = transform.near + (j * 16 + m) * 4;
        to[0] = first.sum;
        to[1] = first.real;
        to[2] = first.imaginary;
        to[3] = first.difference;
      }
    }
    for (int j = 0; j < 8; ++j) {
      for (int c = 0; c < 4; ++c) pass<4>(transform.near + j * 64 + c * 4, 16, factors, transform.part + c * 16);
      pass<16>(transform.part, 16, factors, transform.whole + (k + j) * 64);
    }
  }
}

// The last two passes, of transform.whole; take(bin, real, imaginary) takes bins before `bins`.
template <class Take>
CLAPRT_INLINE void last_passes(const Factor* factors, const Transform& transform, int bins, const Take& take) {
  constexpr int kIdo = 64, kApart = 4 * 64;  // of the fourth pass, whose result k is the fifth's input k
  const auto input = [&](int k, int c, int a) CLAPRT_INLINED { return transform.whole[k * 64 + c * kApart + a]; };
  // bins of the fifth pass at i of its 256 numbers
  const auto spread = [&](const Doubles (&real)[4], const Doubles (&imaginary)[4], int i) CLAPRT_INLINED {
    const int bin = i / 2;
    turn(real, imaginary, factors, bin, [&](int quarter, Doubles re, Doubles im) CLAPRT_INLINED {
      const int at = quarter == 0 ? bin : quarter == 1 ? 256 - bin : quarter == 2 ? 256 + bin : 512 - bin;
      if (at < bins) take(at, re, im);
    });
  };
  {
    Doubles begin[4], end[4], real[3][4], imaginary[3][4];  // at 64, 128 and 192
    CLAPRT_UNROLL
    for (int k = 0; k < 4; ++k) {
      const Doubles x[4] = {input(k, 0, 0), input(k, 1, 0), input(k, 2, 0), input(k, 3, 0)};
      const Doubles y[4] = {input(k, 0, kIdo - 1), input(k, 1, kIdo - 1), input(k, 2, kIdo - 1), input(k, 3, kIdo - 1)};
      const First first = first_of(x);
      const Last last = last_of(y);
      begin[k] = first.sum;
      end[k] = first.difference;
      real[1][k] = first.real;
      imaginary[1][k] = first.imaginary;
      real[0][k] = last.real0;
      imaginary[0][k] = last.imaginary0;
      real[2][k] = last.real1;
      imaginary[2][k] = last.imaginary1;
    }
    const First first = first_of(begin);
    take(0, first.sum, all_doubles(0));
    if (256 < bins) take(256, first.real, first.imaginary);
    if (512 < bins) take(512, first.difference, all_doubles(0));
    const Last last = last_of(end);
    if (128 < bins) take(128, last.real0, last.imaginary0);
    if (384 < bins) take(384, last.real1, last.imaginary1);
    for (int n = 0; n < 3; ++n) spread(real[n], imaginary[n], 64 * (n + 1));
  }
  for (int i = 2; i < kIdo; i += 2) {
    Doubles real[4][4], imaginary[4][4];  // [quarter][k]
    CLAPRT_UNROLL
    for (int k = 0; k < 4; ++k) {
      const Doubles re[4] = {input(k, 0, i - 1), input(k, 1, i - 1), input(k, 2, i - 1), input(k, 3, i - 1)};
      const Doubles im[4] = {input(k, 0, i), input(k, 1, i), input(k, 2, i), input(k, 3, i)};
      turn(re, im, factors, 4 * (i / 2), [&](int quarter, Doubles r, Doubles m) CLAPRT_INLINED {
        real[quarter][k] = r;
        imaginary[quarter][k] = m;
      });
    }
    for (int quarter = 0; quarter < 4; ++quarter)
      spread(real[quarter], imaginary[quarter], quarter * kIdo + (quarter % 2 == 0 ? i : kIdo - i));
  }
}
