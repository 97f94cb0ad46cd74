// The tower for one instruction set; CMakeLists.txt gives this file its compiler flags.
#define CLAPRT_BF16 0
#include "set.h"

namespace claprt {
namespace {
#include "vectors_avx512.h"

#include "kernels.h"
}  // namespace

extern const InstructionSet k_avx512_vnni;
const InstructionSet k_avx512_vnni{"avx512_vnni", run, sum_bytes, gelu_of, mels_of};

}  // namespace claprt
