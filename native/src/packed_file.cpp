#include "packed_file.h"

#include <cmath>
#include <cstring>

#include "gelu_table.h"

namespace claprt {
namespace {

constexpr char kMagic[8] = {'C', 'L', 'A', 'P', 'R', 'T', 'N', 'T'};
constexpr size_t kHeader = 128;
constexpr int kMostDim = 256, kMostDepth = 64, kMostJoint = 4096, kMostFrames = 4096;

struct Header {
  char magic[8];
  uint32_t format, header_bytes;
  uint64_t bytes;
  uint8_t graph[32];  // sha256 of the graph that was packed
  int32_t dim, frames, views, joint, head_width;
  int32_t depth[kStages], heads[kStages];
  int32_t reserved[5];
};
static_assert(sizeof(Header) == kHeader, "the header is 128 bytes");

struct Fault {
  std::string text;
};

[[noreturn]] void fail(const std::string& text) { throw Fault{text}; }

class Reader {
 public:
  Reader(const uint8_t* content, uint64_t bytes, PackedTower& out)
      : content_(content), bytes_(bytes), at_(kHeader), out_(out) {}

  template <class T>
  const T* take(uint64_t count) {
    const uint64_t size = count * sizeof(T);  // counts are products of bounded sizes, far below 2^60
    if (size > bytes_ - at_) fail("it ends within its weights");
    const uint8_t* found = content_ + at_;
    at_ += size;
    at_ += (64 - at_ % 64) % 64;
    if (at_ > bytes_) fail("it ends within its weights");
    return reinterpret_cast<const T*>(found);
  }

  Norm norm(int channels) {
    const float* weight = take<float>(channels);
    return {weight, take<float>(channels)};
  }

  Linear linear(int inputs, int outputs) {
    const int32_t* facts = take<int32_t>(3);
    if (facts[0] < 0 || facts[0] > 1 || facts[1] != inputs || facts[2] != outputs) fail("a layer has other sizes");
    Linear layer{inputs, outputs, facts[0] == 1, nullptr, nullptr, nullptr};
    if (layer.bytes) layer.start = take<int32_t>(outputs);
    layer.scale = take<float>(outputs);
    if (layer.bytes) {
      if (outputs % kBlockRows != 0) fail("a layer in bytes has outputs that are not multiples of 16");
      const uint64_t blocks = (static_cast<uint64_t>(inputs) + 4 * kBlockQuads - 1) / (4 * kBlockQuads);
      layer.weight = take<int8_t>(blocks * 4 * kBlockQuads * outputs);
    } else {
      layer.weight = take<float>(static_cast<uint64_t>(inputs) * outputs);
    }
    return layer;
  }

  Linear float_linear(int inputs, int outputs) {
    const Linear layer = linear(inputs, outputs);
    if (layer.bytes) fail("a layer that must be in float32 is in bytes");
    return layer;
  }

  // A copy, since what is checked here must not change afterwards with the file.
  const int32_t* indices(uint64_t count, int32_t end, const char* fault) {
    const int32_t* found = take<int32_t>(count);
    out_.indices.emplace_back(found, found + count);
    for (int32_t index : out_.indices.back())
      if (index < 0 || index >= end) fail(fault);
    return out_.indices.back().data();
  }

  bool at_end() const { return at_ == bytes_; }

 private:
  const uint8_t* content_;
  uint64_t bytes_, at_;
  PackedTower& out_;
};

void check_sizes(const Header& header) {
  const auto within = [](int32_t value, int least, int most) { return value >= least && value <= most; };
  bool good = within(header.dim, 16, kMostDim) && header.dim % 16 == 0 && within(header.frames, 4, kMostFrames) &&
              (header.views == 1 || header.views == 4) && within(header.joint, 32, kMostJoint) && header.joint % 32 == 0;
  const int width = header.head_width;
  good = good && (width == 16 || width == 24 || width == 32 || width == 64);
  for (int stage = 0; good && stage < kStages; ++stage)
    good = within(header.depth[stage], 1, kMostDepth) && within(header.heads[stage], 1, 256) &&
           header.heads[stage] * width == header.dim << stage;
  // the last stage's heads are divided among tasks by ones or twos
  good = good && (header.heads[3] < 16 || header.heads[3] % 2 == 0) && header.heads[3] <= 64;
  for (int value : header.reserved) good = good && value == 0;
  if (!good) fail("its sizes are not those of a tower that this engine runs");
}

void read_block(Reader& in, const Header& header, int stage, Block& block) {
  const int channels = header.dim << stage, side = 8 >> stage, heads = header.heads[stage];
  block.attention_norm = in.norm(channels);
  block.query = in.linear(channels, channels);
  block.key = in.linear(channels, channels);
  block.value = in.linear(channels, channels);
  if (block.key.bytes != block.query.bytes || block.value.bytes != block.query.bytes) fail("a block's layers do not fit");
  const int32_t* counts = in.take<int32_t>(2);
  const int patterns = counts[0];
  block.windows = counts[1];
  if ((block.windows != 1 && block.windows != side * side) || patterns < 1 || patterns > block.windows)
    fail("a block has another number of windows");
  block.pattern = in.indices(block.windows, patterns, "a window has scores that are not there");
  block.scores = in.take<float>(static_cast<uint64_t>(patterns) * heads * kTokens * kTokens);
  const float* mixed = in.take<float>(2);
  block.mixed_inverse = mixed[0];
  block.mixed_zero = mixed[1];
  block.projection = in.linear(channels, channels);
  block.mlp_norm = in.norm(channels);
  block.up = in.linear(channels, 4 * channels);
  const float* hidden = in.take<float>(2);
  block.down = in.linear(4 * channels, channels);
  for (int i = 0; i < kSegments; ++i) {
    block.gelu[0][i] = std::fma(kGelu[0][i], hidden[0], hidden[1]);
    block.gelu[1][i] = kGelu[1][i] * hidden[0];
    block.gelu[2][i] = kGelu[2][i] * hidden[0];
  }
}

void read(const uint8_t* content, uint64_t bytes, PackedTower& out) {
  Header header;
  if (bytes < kHeader) fail("it is shorter than its header");
  std::memcpy(&header, content, kHeader);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) fail("it is not a packed tower");
  if (header.format != kFormat)
    fail("it has format " + std::to_string(header.format) + ", and this library reads " + std::to_string(kFormat));
  if (header.header_bytes != kHeader || header.bytes != bytes)
    fail("it has " + std::to_string(bytes) + " bytes and states " + std::to_string(header.bytes));
  check_sizes(header);
  Tower& tower = out.tower;
  tower.dim = header.dim;
  tower.frames = header.frames;
  tower.views = header.views;
  tower.joint = header.joint;
  tower.head_width = header.head_width;
  Reader in(content, bytes, out);
  tower.mel_scale = in.take<float>(kMels);
  tower.mel_shift = in.take<float>(kMels);
  tower.first = in.indices(kImage, header.frames - 3, "it reads frames that are not there");
  tower.taps = in.take<float>(static_cast<uint64_t>(kImage) * 4);
  tower.patch = in.float_linear(kPatch, header.dim);
  tower.patch_norm = in.norm(header.dim);
  if (header.views == 4) {
    tower.fusion.local = in.float_linear(kLocalPatch, header.dim);
    tower.fusion.local_down = in.float_linear(header.dim, header.dim / 4);
    tower.fusion.local_up = in.float_linear(header.dim / 4, header.dim);
    tower.fusion.global_down = in.float_linear(header.dim, header.dim / 4);
    tower.fusion.global_up = in.float_linear(header.dim / 4, header.dim);
  }
  for (int stage = 0; stage < kStages; ++stage) {
    tower.depth[stage] = header.depth[stage];
    tower.heads[stage] = header.heads[stage];
    out.blocks.emplace_back(new Block[header.depth[stage]]);
    tower.block[stage] = out.blocks.back().get();
    for (int index = 0; index < header.depth[stage]; ++index) read_block(in, header, stage, tower.block[stage][index]);
    if (stage < kStages - 1) {
      const int channels = header.dim << stage;
      tower.merge[stage].norm = in.norm(4 * channels);
      tower.merge[stage].reduction = in.linear(4 * channels, 2 * channels);
    }
  }
  const int channels = 8 * header.dim;
  tower.norm = in.norm(channels);
  tower.head1 = in.take<float>(static_cast<uint64_t>(channels) * header.joint);
  tower.head1_bias = in.take<float>(header.joint);
  tower.head2 = in.take<float>(static_cast<uint64_t>(header.joint) * header.joint);
  tower.head2_bias = in.take<float>(header.joint);
  if (!in.at_end()) fail("it is longer than its weights");
}

}  // namespace

std::string read_packed(const void* content, uint64_t bytes, PackedTower& out) {
  if (bytes >= kHeader && reinterpret_cast<uintptr_t>(content) % 64 != 0) return "its content is not aligned to 64 bytes";
  try {
    read(static_cast<const uint8_t*>(content), bytes, out);
  } catch (const Fault& fault) {
    return fault.text;
  }
  return "";
}

}  // namespace claprt
