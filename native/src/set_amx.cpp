// The tower for one instruction set; CMakeLists.txt gives this file its compiler flags.
#define CLAPRT_AMX 1
#define CLAPRT_BF16 1
#include "set.h"

namespace claprt {
namespace {
#include "vectors_avx512.h"

#include "kernels.h"
}  // namespace

extern const InstructionSet k_amx;
const InstructionSet k_amx{"amx", run, sum_bytes, gelu_of, mels_of};

}  // namespace claprt
