// Reads a packed file: every size is compared with what the architecture gives, every index with what it points into.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tower.h"

namespace claprt {

// A tower whose pointers lead into the content of a packed file, which must outlive it.
struct PackedTower {
  Tower tower{};
  std::vector<std::unique_ptr<Block[]>> blocks;
  std::vector<std::vector<int32_t>> indices;
};

// Empty if all is well, else what is wrong, as the end of a sentence.
std::string read_packed(const void* content, uint64_t bytes, PackedTower& out);

}  // namespace claprt
