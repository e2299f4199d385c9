// How the GPU kernels cut their work. A block owns some tokens of one side (queries, or keys for
// their gradients), a warp 16 of them or 32, and streams tiles of the other side through shared
// memory: two tensors at a time, those that share no bit with the block's left out, the next ones
// copied while these are computed with. Every sum belongs to one thread, which adds in a fixed
// order, so results are the same at every run.
#pragma once

#include "common/cuda.h"
#include "common/mma.h"
#include "region_attention/contract.h"
#include "region_attention/math.h"

namespace motion_lab::region_attention::cuda {

using motion_lab::cuda::copy_async;
using motion_lab::cuda::dynamic_shared;
using motion_lab::cuda::exp2_approx;
using motion_lab::cuda::launch;
using motion_lab::cuda::Place;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// kSize: the head size, rounded up to what there are kernels for. kMatrices: of 16 tokens, that a
// warp owns. kStream: tokens of a streamed tile.
template <class Element_, int kSize_, int kMatrices_, int kStream_>
struct Shape {
  using Element = Element_;
  static constexpr bool kTensorCores = !std::is_same_v<Element, float>;
  static constexpr int kSize = kSize_, kMatrices = kMatrices_, kStream = kStream_;
  static constexpr int kWarps = !kTensorCores && kSize > 128 ? 2 : 4;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kRows = kWarps * kMatrices * 16;
  static constexpr int kStages = kTensorCores ? 2 : 1;
  // Rows are 16 bytes longer than they need to be: eight in a row then lie in different banks.
  static constexpr int kPitch = kSize + 16 / static_cast<int>(sizeof(Element));
  static constexpr int kWeightPitch = kStream + 4;  // where weights go through shared memory

  // What a block needs with that many tensors of its own.
  static constexpr size_t shared_bytes(int own) {
    return (own * kRows + kStages * 2 * kStream) * kPitch * sizeof(Element) +
           (kTensorCores ? 0 : kRows * kWeightPitch * sizeof(float));
  }
};

// A block's shared memory, in the order of shared_bytes().
template <class S, int kOwn>
struct Shared {
  using Element = typename S::Element;
  static constexpr size_t kBytes = S::shared_bytes(kOwn);
  Element* start = dynamic_shared<Element>();

  __device__ Element* own(int tensor) const { return start + tensor * S::kRows * S::kPitch; }
  __device__ Element* streamed(int stage, int tensor) const {
    return own(kOwn) + (stage * 2 + tensor) * S::kStream * S::kPitch;
  }
  // The present warp's rows of its own tensors, and its place for weights.
  __device__ Element* mine(int tensor) const {
    return own(tensor) + threadIdx.x / kWarp * S::kMatrices * 16 * S::kPitch;
  }
  __device__ float* weights() const {
    return reinterpret_cast<float*>(streamed(S::kStages, 0)) +
           threadIdx.x / kWarp * S::kMatrices * 16 * S::kWeightPitch;
  }
};

// One head of a tensor (batch, head, token, channel).
template <class Element>
struct Head {
  Element* data;
  int64_t token, channel;  // strides
  bool wide;               // rows are whole words of 16 bytes

  __device__ Head(const Tensor& x, int64_t batch, int64_t head)
      : data(static_cast<Element*>(x.data) + batch * x.stride[0] + head * x.stride[1]),
        token(x.stride[2]),
        channel(x.stride[3]),
        wide(channel == 1 && token * sizeof(Element) % 16 == 0 &&
             reinterpret_cast<uintptr_t>(data) % 16 == 0) {}
};

// Copies rows [begin, begin + kCount) to shared memory, zeros where there are no more tokens or
// channels. Wide ones are there after wait_for_copies.
template <class S, int kCount>
__device__ void fetch_rows(typename S::Element* to, const Head<typename S::Element>& from,
                           const Tokens& tokens, int64_t begin, int size) {
  using Element = typename S::Element;
  if (from.wide) {
    constexpr int kPer = 16 / sizeof(Element), kPieces = S::kSize / kPer;
#pragma unroll(S::kSize > 64 ? 2 : 4)
    for (int i = threadIdx.x; i < kCount * kPieces; i += S::kThreads) {
      const int row = i / kPieces, channel = i % kPieces * kPer;
      const int count = begin + row < tokens.length ? max(min(size - channel, kPer), 0) : 0;
      const Element* source =
          count > 0 ? from.data + tokens.place(begin + row) * from.token + channel : from.data;
      copy_async<16>(to + row * S::kPitch + channel, source,
                     count * static_cast<int>(sizeof(Element)));
    }
    return;
  }
  // Neighbours in memory go to neighbouring threads.
  const bool along = from.channel != 1;
#pragma unroll 1
  for (int i = threadIdx.x; i < kCount * S::kSize; i += S::kThreads) {
    const int row = along ? i % kCount : i / S::kSize;
    const int channel = along ? i / kCount : i % S::kSize;
    const bool there = begin + row < tokens.length && channel < size;
    to[row * S::kPitch + channel] =
        there ? from.data[tokens.place(begin + row) * from.token + channel * from.channel]
              : Element(0.0f);
  }
}

// The tokens of one side of a batch row, and the words of each kWordTile of them.
struct Side {
  Tokens tokens;
  const TileWords* tiles;
  int count;

  __device__ Side(const Tensor& regions, const Tensor& order, const Tensor& words, int64_t batch)
      : tokens(regions, order, batch),
        tiles(static_cast<const TileWords*>(words.data) + batch * words.size[1]),
        count(static_cast<int>(words.size[1])) {}

  template <int kTokens>
  __device__ TileWords words(int tile) const {
    constexpr int kTiles = kTokens / kWordTile;
    TileWords found;
    for (int i = tile * kTiles; i < min((tile + 1) * kTiles, count); ++i) found.add(tiles[i]);
    return found;
  }
};

// The tiles of a side that share a bit with this block's words, one after the other. All lanes of
// a warp walk together, each classing one tile of 32.
template <int kTokens>
class Walk {
 public:
  int tile = 0;
  bool full = false;

  __device__ Walk(const Side& side, const TileWords& own)
      : side_(side),
        own_(own),
        tiles_(static_cast<int>((side.tokens.length + kTokens - 1) / kTokens)) {}

  __device__ bool next() {
    while (!some_) {
      if (classed_ >= tiles_) return false;
      const int mine = classed_ + threadIdx.x % kWarp;
      const TileClass found =
          mine < tiles_ ? classify(own_, side_.words<kTokens>(mine)) : TileClass::empty;
      some_ = __ballot_sync(kAllLanes, found != TileClass::empty);
      full_ = __ballot_sync(kAllLanes, found == TileClass::full);
      classed_ += kWarp;
    }
    const int bit = __ffs(static_cast<int>(some_)) - 1;
    some_ &= some_ - 1;
    tile = classed_ - kWarp + bit;
    full = full_ >> bit & 1u;
    return true;
  }

 private:
  const Side& side_;
  TileWords own_;
  int tiles_, classed_ = 0;
  unsigned some_ = 0, full_ = 0;
};

// Calls fetch(begin, stage), then compute(stage, full), for every tile of a walk.
template <class S, class Fetch, class Compute>
__device__ void for_each_tile(Walk<S::kStream> walk, Fetch&& fetch, Compute&& compute) {
  int stage = 0;
  bool more = walk.next();
  __syncthreads();  // whoever still computes with an earlier walk's tiles
  if (S::kStages > 1 && more) fetch(int64_t{walk.tile} * S::kStream, stage);
  while (more) {
    if (S::kStages == 1) fetch(int64_t{walk.tile} * S::kStream, stage);
    motion_lab::cuda::wait_for_copies();
    __syncthreads();
    const bool full = walk.full;
    more = walk.next();
    if (S::kStages > 1 && more) fetch(int64_t{walk.tile} * S::kStream, stage ^ 1);
    compute(stage, full);
    if (S::kStages > 1)
      stage ^= 1;
    else
      __syncthreads();
  }
}

// Which tile of which head of which batch row a block works on.
struct Job {
  int tile;
  int64_t head, batch;

  __device__ Job(int64_t tiles, int64_t heads)
      : tile(static_cast<int>(blockIdx.x % tiles)),
        head(blockIdx.x / tiles % heads),
        batch(blockIdx.x / tiles / heads) {}
};

// Launches a kernel whose blocks own S::kRows tokens each.
template <class S, class Kernel, class... Arguments>
void launch_tiles(Kernel* kernel, int64_t length, int64_t heads, int64_t batches, int slices,
                  size_t shared_bytes, Place place, const Arguments&... arguments) {
  const int64_t blocks = (length + S::kRows - 1) / S::kRows * heads * batches;
  if (blocks == 0) return;
  check(blocks < int64_t{1} << 31, "region_attention: too many tokens and heads for one call");
  launch(kernel, dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(slices)),
         dim3(S::kThreads), shared_bytes, place, arguments...);
}

// Calls body(Element{}, size) with the type of the tensors, and the head size that kernels have.
template <class Body>
void dispatch(const Tensor& q, Body&& body) {
  const auto with_size = [&](auto element) {
    const int64_t size = q.size[3];
    if (size <= 32) return body(element, std::integral_constant<int, 32>());
    if (size <= 64) return body(element, std::integral_constant<int, 64>());
    if (size <= 128) return body(element, std::integral_constant<int, 128>());
    return body(element, std::integral_constant<int, 256>());
  };
  switch (q.dtype) {
    case DType::float32:
      return with_size(float());
    case DType::bfloat16:
      return with_size(__nv_bfloat16());
    case DType::float16:
      return with_size(__half());
    default:
      check(false, "region_attention: the CUDA kernels take float32, bfloat16 and float16");
  }
}

// Writes the words of every kWordTile tokens of both sides; see cuda.cu.
void class_tiles(const Inputs& inputs, const Tensor& q_words, const Tensor& k_words, Place place);

}  // namespace motion_lab::region_attention::cuda
