// Factors of the Fourier transform.
#pragma once

#include "tower.h"

namespace claprt {

// exp(2 pi i k / kTransform) for k from 0 to kTransform - 1.
const Factor* twiddles();

}  // namespace claprt
