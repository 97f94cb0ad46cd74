// The tower for one instruction set; CMakeLists.txt gives this file its compiler flags.
#define CLAPRT_BF16 0
#define CLAPRT_UNROLL
#include "set.h"

namespace claprt {
namespace {
#include "vectors_scalar.h"

#include "kernels.h"
}  // namespace

extern const InstructionSet k_scalar;
const InstructionSet k_scalar{"scalar", run, sum_bytes, gelu_of, mels_of};

}  // namespace claprt
