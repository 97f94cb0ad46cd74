// What every set_*.cpp includes before its vectors: headers that must not be compiled inside of its namespace.
//
// Nothing of the standard library that is a template or inline may be called from kernels.h and what it includes, or the linker
// could take the copy that was compiled for one processor for all of them.
#pragma once

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include <cmath>
#include <cstdint>
#include <cstring>

#include "team.h"
#include "tower.h"

#if !defined(CLAPRT_AMX)
#define CLAPRT_AMX 0
#endif

#if defined(CLAPRT_UNROLL)
#elif defined(__clang__)
#define CLAPRT_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define CLAPRT_UNROLL _Pragma("GCC unroll 32")
#else
#define CLAPRT_UNROLL
#endif

#if defined(__GNUC__)
#define CLAPRT_INLINED __attribute__((always_inline))
#else
#define CLAPRT_INLINED
#endif

namespace claprt {

// The right halves of two rows of a window and the left halves of the next window's.
alignas(64) constexpr int32_t kHalves[16] = {4, 5, 6, 7, 16, 17, 18, 19, 12, 13, 14, 15, 24, 25, 26, 27};

// Every second token of two rows of two windows: even or odd row (down), even or odd column (right).
alignas(64) constexpr int32_t kEverySecond[4][16] = {
    {0, 2, 4, 6, 16, 18, 20, 22, 0, 2, 4, 6, 16, 18, 20, 22},
    {1, 3, 5, 7, 17, 19, 21, 23, 1, 3, 5, 7, 17, 19, 21, 23},
    {8, 10, 12, 14, 24, 26, 28, 30, 8, 10, 12, 14, 24, 26, 28, 30},
    {9, 11, 13, 15, 25, 27, 29, 31, 9, 11, 13, 15, 25, 27, 29, 31},
};

}  // namespace claprt
