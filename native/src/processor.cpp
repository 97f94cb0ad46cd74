#include "processor.h"

#include <cstring>
#include <string>

#if defined(CLAPRT_X86)
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

#if defined(CLAPRT_HAS_AMX)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace claprt {

extern const InstructionSet k_scalar;
#if defined(CLAPRT_X86)
extern const InstructionSet k_avx512_vnni, k_avx512_bf16;
#endif
#if defined(CLAPRT_HAS_AMX)
extern const InstructionSet k_amx;
#endif

namespace {

#if defined(CLAPRT_X86)
struct Registers {
  uint32_t a, b, c, d;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r{};
#if defined(_MSC_VER)
  int values[4];
  __cpuidex(values, static_cast<int>(leaf), static_cast<int>(subleaf));
  r = {uint32_t(values[0]), uint32_t(values[1]), uint32_t(values[2]), uint32_t(values[3])};
#else
  __cpuid_count(leaf, subleaf, r.a, r.b, r.c, r.d);
#endif
  return r;
}

bool bit(uint32_t word, int n) { return (word >> n & 1) != 0; }

// The register state that the operating system keeps over a switch of threads.
uint64_t kept_state() {
#if defined(_MSC_VER)
  return _xgetbv(0);
#else
  uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
#endif
}

struct Features {
  bool vnni = false, bf16 = false, amx = false;
};

#if defined(CLAPRT_HAS_AMX)
// Whether tiles are of 16 rows of 64 bytes, and Linux lets this process use them, which must be asked for once: it keeps 8 KB
// more for each thread that does. Processes that are forked inherit the permission.
bool may_use_tiles() {
  constexpr uint64_t kTileState = 3 << 17;
  constexpr long kAskForState = 0x1023, kTileData = 18;
  if ((kept_state() & kTileState) != kTileState || cpuid(0, 0).a < 0x1d) return false;
  const Registers palette = cpuid(0x1d, 1);
  if (palette.a >> 16 != 1024 || palette.b != (8u << 16 | 64) || (palette.c & 0xffff) != 16) return false;
  return syscall(SYS_arch_prctl, kAskForState, kTileData) == 0;
}
#endif

Features features() {
  Features found;
  if (cpuid(0, 0).a < 7) return found;
  const Registers first = cpuid(1, 0), seventh = cpuid(7, 0);
  if (!bit(first.c, 27) || !bit(first.c, 12)) return found;  // OSXSAVE, FMA
  if ((kept_state() & 0xe6) != 0xe6) return found;           // SSE, AVX, and all three parts of AVX-512
  const bool avx512 = bit(seventh.b, 16) && bit(seventh.b, 17) && bit(seventh.b, 30) && bit(seventh.b, 31);  // F DQ BW VL
  found.vnni = avx512 && bit(seventh.c, 11);
  found.bf16 = found.vnni && seventh.a >= 1 && bit(cpuid(7, 1).a, 5);
#if defined(CLAPRT_HAS_AMX)
  const bool amx = bit(seventh.d, 22) && bit(seventh.d, 24) && bit(seventh.d, 25);  // BF16 TILE INT8
  found.amx = found.bf16 && amx && may_use_tiles();
#endif
  return found;
}
#endif

struct Available {
  const InstructionSet* sets[4];
  int count = 0;
  std::string names;

  Available() {
#if defined(CLAPRT_X86)
    const Features found = features();
#if defined(CLAPRT_HAS_AMX)
    if (found.amx) sets[count++] = &k_amx;
#endif
    if (found.bf16) sets[count++] = &k_avx512_bf16;
    if (found.vnni) sets[count++] = &k_avx512_vnni;
#endif
    sets[count++] = &k_scalar;
    for (int i = 0; i < count; ++i) names += (i == 0 ? "" : ",") + std::string(sets[i]->name);
  }
};

const Available& available() {
  static const Available found;
  return found;
}

}  // namespace

const char* available_names() { return available().names.c_str(); }

const InstructionSet* available_set(const char* name) {
  const Available& found = available();
  if (name == nullptr) return found.sets[0];
  for (int i = 0; i < found.count; ++i)
    if (std::strcmp(found.sets[i]->name, name) == 0) return found.sets[i];
  return nullptr;
}

}  // namespace claprt
