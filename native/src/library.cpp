// The C interface: which instruction set runs, and memory and threads for each call.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <vector>

#include "claprt_native.h"
#include "gelu_table.h"
#include "packed_file.h"
#include "processor.h"
#include "team.h"
#include "twiddles.h"

namespace claprt {
namespace {

constexpr float kLoudest = 1e6f;  // dB; beyond that sums of squares could overflow

// Memory that is given back in one piece, zeroed and aligned; pages that nobody touches cost nothing.
class Arena {
 public:
  // Every array by its size in bytes first, then memory, then the same arrays again.
  size_t plan(size_t bytes) {
    const size_t at = size_;
    size_ += (bytes + 63) / 64 * 64 + 64;  // a line apart, so that two threads' arrays share none
    return at;
  }
  void allocate() {
    memory_.reset(static_cast<uint8_t*>(std::calloc(size_ + 64, 1)));
    if (!memory_) throw std::bad_alloc();
  }
  template <class T>
  T* at(size_t offset) const {
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory_.get()) + 63) / 64 * 64;
    return reinterpret_cast<T*>(begin + offset);
  }

 private:
  struct Free {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  size_t size_ = 0;
  std::unique_ptr<uint8_t[], Free> memory_;
};

class Call {
 public:
  Call(const Tower& tower, int threads, RunTower run) {
    space_.tower = &tower;
    const size_t window = static_cast<size_t>(tower.dim) * kTokens * sizeof(float), dim = tower.dim;
    struct Place {
      void** pointer;
      size_t offset;
    };
    std::vector<Place> places;
    const auto plan = [&](auto*& pointer, size_t bytes) {
      places.push_back({reinterpret_cast<void**>(&pointer), arena_.plan(bytes)});
    };
    const size_t views = static_cast<size_t>(tower.views);
    plan(space_.log_mels, views * tower.frames * kMels * sizeof(float));
    plan(space_.image, views * kImage * kMels * sizeof(float));
    for (float*& tokens : space_.tokens) plan(tokens, kWindows * window);
    if (tower.views > 1) plan(space_.views, kWindows * (2 * window + 2 * dim * sizeof(float)));
    plan(space_.overall, 2 * dim * sizeof(float));
    plan(space_.mixed, 8 * window);
    plan(space_.hidden, 32 * window);
    plan(space_.pooled, 8 * dim * sizeof(float));
    for (float*& joint : space_.joint) plan(joint, tower.joint * sizeof(float));
    plan(space_.embedding, tower.joint * sizeof(float));
    const size_t square = static_cast<size_t>(kTokens) * kTokens * sizeof(float);
    for (int worker = 0; worker < threads; ++worker) {
      Scratch& scratch = space_.scratch[worker];
      // kMostTogether windows of the third stage take most
      plan(scratch.normalised, 16 * window);
      plan(scratch.mixed, 16 * window);
      plan(scratch.hidden, 64 * window);
      for (float** rows : {&scratch.query, &scratch.key, &scratch.value}) plan(*rows, kMostTogether * square);
      for (float** rows : {&scratch.scores, &scratch.weights}) plan(*rows, 2 * square);
      plan(scratch.wide, 16 * window + square);
      plan(scratch.own, 16 * window + square * 2);
    }
    arena_.allocate();
    for (const Place& place : places) *place.pointer = arena_.at<void>(place.offset);
    team_.reset(new Team(threads, run, &space_));
    space_.team = team_.get();
  }

  int run(const float* log_mels, bool longer, float* embedding) {
    const Tower& tower = *space_.tower;
    const size_t count = static_cast<size_t>(tower.views) * tower.frames * kMels;
    float loudest = 0;
    bool numbers = true;
    for (size_t i = 0; i < count; ++i) {
      const float magnitude = std::fabs(log_mels[i]);
      numbers &= magnitude <= kLoudest;  // false for NaN
      loudest = magnitude > loudest ? magnitude : loudest;
    }
    if (!numbers || loudest > kLoudest) return CLAPRT_NOT_FINITE;
    std::memcpy(space_.log_mels, log_mels, count * sizeof(float));
    team_->call(longer);
    std::memcpy(embedding, space_.embedding, tower.joint * sizeof(float));
    return CLAPRT_OK;
  }

 private:
  Arena arena_;
  Workspace space_{};
  std::unique_ptr<Team> team_;
};

void tell(char* message, int bytes, const std::string& text) {
  if (message != nullptr && bytes > 0) std::snprintf(message, static_cast<size_t>(bytes), "%s", text.c_str());
}

}  // namespace
}  // namespace claprt

struct claprt_tower {
  claprt::PackedTower packed;
  int threads;
  claprt::RunTower run;
  std::mutex mutex;
  std::vector<std::unique_ptr<claprt::Call>> idle;
};

int claprt_native_abi(void) { return CLAPRT_NATIVE_ABI; }

int claprt_native_format(void) { return claprt::kFormat; }

const char* claprt_native_sets(void) { return claprt::available_names(); }

int claprt_native_sum(const char* set, const int8_t* weight, const int32_t* start, const uint8_t* input, int inputs, int outputs,
                      int32_t* sums) {
  using namespace claprt;
  const InstructionSet* chosen = available_set(set);
  const bool sizes = inputs >= 4 && inputs % 4 == 0 && outputs >= kBlockRows && outputs % kBlockRows == 0;
  if (chosen == nullptr || !sizes) return CLAPRT_BAD_CALL;
  try {
    // blocks of inputs are read whole, as from a tower's memory
    const size_t tokens = static_cast<size_t>(inputs) * kTokens, block = static_cast<size_t>(kBlockQuads) * 4 * kTokens;
    std::vector<uint8_t> whole;
    if (tokens % block != 0) {
      whole.assign(input, input + tokens);
      whole.resize((tokens + block - 1) / block * block, 255);
      input = whole.data();
    }
    chosen->sum_bytes(Linear{inputs, outputs, true, start, nullptr, weight}, input, sums);
    return CLAPRT_OK;
  } catch (const std::bad_alloc&) {
    return CLAPRT_NO_MEMORY;
  }
}

int claprt_native_gelu(const char* set, const float* x, float* y, int count) {
  using namespace claprt;
  const InstructionSet* chosen = available_set(set);
  if (chosen == nullptr || count < 0 || count % 16 != 0) return CLAPRT_BAD_CALL;
  chosen->gelu_of(kGelu, x, y, count);
  return CLAPRT_OK;
}

int claprt_native_mels(const char* set, const float* signal, int64_t frames, int hop, const double* window, int bands,
                       const int32_t* first, const int32_t* length, const float* weight, float* mels) {
  using namespace claprt;
  const InstructionSet* chosen = available_set(set);
  if (chosen == nullptr || frames < 1 || frames > INT32_MAX || hop < 1 || bands < 1) return CLAPRT_BAD_CALL;
  int bins = 0;
  for (int band = 0; band < bands; ++band) {
    if (first[band] < 0 || length[band] < 1 || first[band] >= kBins || length[band] > kBins - first[band]) return CLAPRT_BAD_CALL;
    if (first[band] + length[band] > bins) bins = first[band] + length[band];
  }
  try {
    Arena arena;
    const size_t memory = arena.plan(kMelMemory);
    arena.allocate();
    const MelBands facts{hop, bins, bands, window, twiddles(), first, length, weight};
    chosen->mels_of(facts, signal, static_cast<int>(frames), arena.at<void>(memory), mels);
    return CLAPRT_OK;
  } catch (const std::bad_alloc&) {
    return CLAPRT_NO_MEMORY;
  }
}

claprt_tower* claprt_tower_open(const void* packed, uint64_t bytes, int threads, const char* set, char* message,
                                int message_bytes) {
  using namespace claprt;
  try {
    if (packed == nullptr || threads < 1 || threads > 4096) {
      tell(message, message_bytes, "a number of threads from 1 to 4096 is needed");
      return nullptr;
    }
    const InstructionSet* chosen = available_set(set);
    if (chosen == nullptr) {
      tell(message, message_bytes, "this processor or this library does not have the instruction set");
      return nullptr;
    }
    std::unique_ptr<claprt_tower> tower(new claprt_tower);
    const std::string fault = read_packed(packed, bytes, tower->packed);
    if (!fault.empty()) {
      tell(message, message_bytes, fault);
      return nullptr;
    }
    tower->threads = threads < kMostThreads ? threads : kMostThreads;
    tower->run = chosen->run;
    tower->idle.emplace_back(new Call(tower->packed.tower, tower->threads, tower->run));
    return tower.release();
  } catch (const std::system_error&) {
    tell(message, message_bytes, "the system gives no more threads");
  } catch (const std::bad_alloc&) {
    tell(message, message_bytes, "there is not enough memory");
  }
  return nullptr;
}

int claprt_tower_dim(const claprt_tower* tower) { return tower->packed.tower.joint; }

int claprt_tower_views(const claprt_tower* tower) { return tower->packed.tower.views; }

int claprt_tower_frames(const claprt_tower* tower) { return tower->packed.tower.frames; }

int claprt_tower_run(claprt_tower* tower, const float* log_mels, const uint8_t* is_longer, int64_t batch, float* embeddings) {
  using namespace claprt;
  if (tower == nullptr || batch < 0 || (batch > 0 && (log_mels == nullptr || embeddings == nullptr))) return CLAPRT_BAD_CALL;
  try {
    std::unique_ptr<Call> call;
    {
      std::lock_guard<std::mutex> lock(tower->mutex);
      if (!tower->idle.empty()) {
        call = std::move(tower->idle.back());
        tower->idle.pop_back();
      }
    }
    const Tower& facts = tower->packed.tower;
    if (!call) call.reset(new Call(facts, tower->threads, tower->run));
    const size_t size = static_cast<size_t>(facts.views) * facts.frames * kMels;
    int code = CLAPRT_OK;
    for (int64_t sound = 0; sound < batch && code == CLAPRT_OK; ++sound)
      code = call->run(log_mels + sound * size, is_longer != nullptr && is_longer[sound] != 0, embeddings + sound * facts.joint);
    std::lock_guard<std::mutex> lock(tower->mutex);
    tower->idle.push_back(std::move(call));
    return code;
  } catch (const std::bad_alloc&) {
    return CLAPRT_NO_MEMORY;
  } catch (const std::system_error&) {
    return CLAPRT_NO_THREADS;
  }
}

void claprt_tower_close(claprt_tower* tower) { delete tower; }
