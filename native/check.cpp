// Runs packed towers under the sanitizers that it was built with: claprt_native_check FILE... ; see check.py.
//
// Every instruction set, several threads and callers must give the same bits; altered files must end in an error or in a run.
// So must the powers of mel bands, of signals of any number of frames.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "claprt_native.h"

namespace {

struct Content {
  uint8_t* memory;
  size_t size;

  // Aligned, and not a byte longer than the file, so that a sanitizer sees what is read behind it.
  explicit Content(const std::vector<uint8_t>& bytes) : memory(nullptr), size(bytes.size()) {
    if (posix_memalign(reinterpret_cast<void**>(&memory), 64, size + (size == 0)) != 0) std::abort();
    std::memcpy(memory, bytes.data(), size);
  }
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;
  ~Content() { std::free(memory); }
  uint8_t* data() { return memory; }
};

[[noreturn]] void fail(const std::string& text) {
  std::fprintf(stderr, "%s\n", text.c_str());
  std::exit(1);
}

std::vector<float> vectors(claprt_tower* tower, const std::vector<float>& mels, const std::vector<uint8_t>& longer) {
  std::vector<float> found(longer.size() * static_cast<size_t>(claprt_tower_dim(tower)));
  const int code = claprt_tower_run(tower, mels.data(), longer.data(), static_cast<int64_t>(longer.size()), found.data());
  if (code != CLAPRT_OK) fail("a run ended with code " + std::to_string(code));
  return found;
}

void check_file(const std::vector<uint8_t>& bytes, int alterations) {
  Content content(bytes);
  char message[256];
  std::mt19937 random(1);
  std::normal_distribution<float> level(-40, 15);
  std::vector<float> mels, first;
  const std::vector<uint8_t> longer{1, 0};
  for (const char* set : {"scalar", "avx512_vnni", "avx512_bf16", "amx"}) {
    if (std::strstr(claprt_native_sets(), set) == nullptr) continue;
    first.clear();
    for (int threads : {1, 2, 5}) {
      claprt_tower* tower = claprt_tower_open(content.data(), content.size, threads, set, message, sizeof message);
      if (tower == nullptr) fail(message);
      mels.resize(longer.size() * static_cast<size_t>(claprt_tower_views(tower)) * claprt_tower_frames(tower) * 64);
      if (first.empty()) {
        for (float& mel : mels) mel = level(random);
        first = vectors(tower, mels, longer);
      }
      std::vector<std::thread> callers;
      for (int caller = 0; caller < 2; ++caller)
        callers.emplace_back([&] {
          for (int turn = 0; turn < 2; ++turn)
            if (vectors(tower, mels, longer) != first) fail(std::string("other bits with ") + set);
        });
      for (std::thread& caller : callers) caller.join();
      claprt_tower_close(tower);
    }
  }
  int ran = 0;
  for (int turn = 0; turn < alterations; ++turn) {
    std::vector<uint8_t> altered = bytes;
    for (unsigned change = random() % 8 + 1; change != 0; --change) {
      const size_t range = turn % 2 != 0 ? altered.size() : 9000;  // most of what is not a weight lies at the beginning
      altered[random() % range] = static_cast<uint8_t>(random());
    }
    if (turn % 5 == 0) altered.resize(random() % altered.size());
    Content changed(altered);
    claprt_tower* tower = claprt_tower_open(changed.data(), changed.size, 1, nullptr, message, sizeof message);
    if (tower == nullptr) continue;
    vectors(tower, mels, longer);
    claprt_tower_close(tower);
    ++ran;
  }
  std::printf("%zu bytes: the same bits everywhere; %d altered files, %d of them ran\n", bytes.size(), alterations, ran);
}

// 64 bands of at most two bins more than the one before, the last one up to bin 512.
void check_mels() {
  constexpr int kBands = 64, kHop = 480;
  std::vector<double> window(1024, 0.5);
  std::vector<int32_t> first, length;
  for (int band = 0; band < kBands; ++band) {
    first.push_back(band * 7);
    length.push_back(band + 9 < 513 - first.back() ? band + 9 : 513 - first.back());
  }
  first.back() = 500;
  length.back() = 13;
  size_t weights = 0;
  for (int32_t bins : length) weights += static_cast<size_t>(bins);
  const std::vector<float> weight(weights, 0.25f);
  std::mt19937 random(1);
  std::normal_distribution<float> level(0, 0.1f);
  for (int frames : {1, 7, 8, 9, 100}) {
    std::vector<float> signal(static_cast<size_t>(frames - 1) * kHop + 1024), expected;
    for (float& sample : signal) sample = level(random);
    const auto found = [&](const char* set) {
      std::vector<float> mels(static_cast<size_t>(frames) * kBands);
      const int code = claprt_native_mels(set, signal.data(), frames, kHop, window.data(), kBands, first.data(), length.data(),
                                          weight.data(), mels.data());
      if (code != CLAPRT_OK) fail("mels ended with code " + std::to_string(code));
      return mels;
    };
    expected = found("scalar");
    for (const char* set : {"avx512_vnni", "avx512_bf16", "amx"}) {
      if (std::strstr(claprt_native_sets(), set) == nullptr) continue;
      std::vector<std::thread> callers;
      for (int caller = 0; caller < 2; ++caller)
        callers.emplace_back([&] {
          if (found(set) != expected) fail(std::string("other powers with ") + set);
        });
      for (std::thread& caller : callers) caller.join();
    }
  }
  for (int32_t bad : {-1, 513}) {
    first[3] = bad;
    float mels[kBands];
    if (claprt_native_mels(nullptr, weight.data(), 1, kHop, window.data(), kBands, first.data(), length.data(), weight.data(),
                           mels) != CLAPRT_BAD_CALL)
      fail("a bin that there is not was taken");
  }
  std::printf("powers of mel bands: the same bits everywhere\n");
}

}  // namespace

int main(int count, char** arguments) {
  const int alterations = std::atoi(arguments[1]);
  check_mels();
  for (int i = 2; i < count; ++i) {
    std::ifstream file(arguments[i], std::ios::binary);
    check_file({std::istreambuf_iterator<char>(file), {}}, alterations);
  }
  return 0;
}
