// What a packed file holds, as pointers into it. Written by packed_file.cpp, read by kernels.h and what that includes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace claprt {

constexpr int kTokens = 64;    // of a window, 8 x 8
constexpr int kMels = 64;      // of a log-mel's frame
constexpr int kImage = 1024;   // rows of the resized log-mel: four bands of 256
constexpr int kWindows = 64;   // of the first stage
constexpr int kStages = 4;
constexpr int kPatch = 16;     // pixels of a patch, 4 x 4
constexpr int kLocalPatch = 48;  // pixels of a patch of a local view, 4 mels x 12 frames
constexpr int kLocalColumns = 21;  // patches of a local view along time
constexpr int kFormat = 2;
constexpr int kMostThreads = 16;
constexpr int kMostTogether = 4;  // windows of the third stage, which one task may take
constexpr int kSegments = 32;  // of the table of GELU

// A block of the weights of a byte layer: what one tile of AMX holds.
constexpr int kBlockRows = 16;   // outputs
constexpr int kBlockQuads = 16;  // of four inputs
constexpr int kBlockBytes = 4 * kBlockRows * kBlockQuads;

// A linear layer. Bytes: weight [outputs / 16][inputs / 64][16][64] int8 with zeros after the last input, start [outputs]
// int32 with bias and zero point, scale [outputs]. Otherwise weight [outputs / 4][inputs][4] float32, and scale holds the bias
// [outputs].
struct Linear {
  int inputs, outputs;
  bool bytes;
  const int32_t* start;
  const float* scale;
  const void* weight;
};

// Where the next layer takes bytes, weight and bias hold its scale and zero point too.
struct Norm {
  const float* weight;
  const float* bias;
};

struct Block {
  Norm attention_norm;
  Linear query, key, value;
  int windows;  // that pattern has: 1, or those of the stage
  const int32_t* pattern;  // [windows], which scores a window uses
  const float* scores;  // [patterns][heads][key 64][query 64], times log2(e)
  float mixed_inverse, mixed_zero;  // 1 / scale and zero point of what attention gives; unused by float layers
  Linear projection;
  Norm mlp_norm;
  Linear up;
  alignas(64) float gelu[3][kSegments];  // coefficients of 1, x, x^2, with the scale and zero point of what GELU gives
  Linear down;
};

struct Merge {
  Norm norm;
  Linear reduction;
};

struct Fusion {
  Linear local;  // kLocalPatch -> dim
  Linear local_down, local_up, global_down, global_up;
};

struct Tower {
  int dim, frames, views, joint;
  int depth[kStages], heads[kStages];
  int head_width;
  const float* mel_scale;  // [64]
  const float* mel_shift;  // [64]
  const int32_t* first;    // [1024], the first of four frames that a row is made of
  const float* taps;       // [1024][4]
  Linear patch;
  Norm patch_norm;
  Fusion fusion;  // of fused towers
  Block* block[kStages];
  Merge merge[kStages - 1];
  Norm norm;
  const float *head1, *head1_bias;  // [joint][8 dim], [joint]
  const float *head2, *head2_bias;  // [joint][joint], [joint]
};

// What one thread computes with; every pointer is aligned to 64 bytes.
struct Scratch {
  uint8_t *normalised, *mixed, *hidden;
  float *query, *key, *value, *scores, *weights;
  float *wide;  // the input of a merge, or of a patch
  float *own;   // what a helper writes until it is published
};

class Team;

// One call's memory.
struct Workspace {
  const Tower* tower;
  Team* team;
  Scratch scratch[kMostThreads];
  float* log_mels;      // [views][frames][64]
  bool longer;
  float* image;         // [views][1024][64]
  float* tokens[2];     // [windows][dim][64] of a stage
  float* views;         // [windows][2 dim 64 + 2 dim]: global tokens, local tokens, sums of both; fused towers
  float* overall;       // [2 dim]
  uint8_t* mixed;       // [8 dim][64] of the last stage
  uint8_t* hidden;      // [32 dim][64] of the last stage
  float* pooled;        // [8 dim]
  float* joint[2];      // [joint]
  float* embedding;     // [joint]
};

using RunTower = void (*)(void* workspace, int worker);

// Sums of a byte layer, as int32 [outputs][64]; for tests.
using SumBytes = void (*)(const Linear& layer, const uint8_t* input, int32_t* sums);

// GELU by a table, of a multiple of 16 numbers; for tests.
using GeluOf = void (*)(const float (&table)[3][kSegments], const float* x, float* y, int count);

constexpr int kTransform = 1024;  // samples of a frame of the log-mel
constexpr int kBins = kTransform / 2 + 1;

struct Factor {
  double real, imaginary;
};

// The front end of a log-mel.
struct MelBands {
  int hop;      // samples from frame to frame
  int bins;     // of the transform that are computed: 0 … bins - 1
  int count;    // of the bands
  const double* window;    // [kTransform]
  const Factor* factors;   // [kTransform], twiddles.cpp
  const int32_t* first;    // [count], the first bin of a band
  const int32_t* length;   // [count], bins of a band
  const float* weight;     // of the bins of all bands, one band after the other
};

// Memory that mels_of computes with, in bytes, aligned to 64.
constexpr size_t kMelMemory = (kTransform / 2 + kTransform / 16 + kTransform) * 64 + kBins * 32;

// Powers of mel bands [frames][bands] of a signal of (frames - 1) hop + kTransform samples.
using MelsOf = void (*)(const MelBands& bands, const float* signal, int frames, void* memory, float* mels);

struct InstructionSet {
  const char* name;
  RunTower run;
  SumBytes sum_bytes;
  GeluOf gelu_of;
  MelsOf mels_of;
};

}  // namespace claprt
