// How the GPU cuts sampling. A block has a tile of consecutive cells of one output, its points.
// Where a point samples is found once for all its channels, by one thread or, for a weighted sum of
// fields, by several; its taps go to shared memory. Then the block's threads share out the points'
// channels. Where channels lie together (channels-last), neighbouring threads take 16 bytes each
// of one point's row; else they take neighbouring points, some channels at a time.
//
// Offsets have 64 bits: an address takes two additions instead of one, in kernels that wait for the
// memory. The cells of one channel are counted in 32.
#pragma once

#include <algorithm>

#include "common/cuda.h"
#include "grid_sample/contract.h"
#include "grid_sample/math.h"

namespace motion_lab::grid_sample::cuda {

using motion_lab::cuda::data_of;
using motion_lab::cuda::Place;
using motion_lab::cuda::read_float;
using motion_lab::cuda::write_float;

constexpr int kThreads = 128;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float to_float(float x) { return x; }
__device__ inline float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float to_float(__half x) { return __half2float(x); }
__device__ inline void from_float(float x, float& to) { to = x; }
__device__ inline void from_float(float x, __nv_bfloat16& to) { to = __float2bfloat16_rn(x); }
__device__ inline void from_float(float x, __half& to) { to = __float2half_rn(x); }

// Calls body(T{}) with the type of a tensor of features.
template <class Body>
void with_type(DType dtype, Body&& body) {
  if (dtype == DType::bfloat16) return body(__nv_bfloat16{});
  if (dtype == DType::float16) return body(__half{});
  check(dtype == DType::float32, "grid_sample: the CUDA kernels compute in float32 alone");
  body(float{});
}

// Whether channels can be read 16 bytes at a time everywhere.
inline bool together(const Tensor& tensor, int channel) {
  const int64_t packet = 16 / size_of(tensor.dtype);
  bool aligned = tensor.stride[channel] == 1 && tensor.size[channel] % packet == 0 &&
                 reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0;
  for (int i = 0; i < tensor.dims; ++i)
    aligned &= i == channel || tensor.size[i] == 1 || tensor.stride[i] % packet == 0;
  return aligned;
}

// Calls body(std::true_type{}) for channels that are read together, which there are kernels for
// with two taps along an axis alone, else body(std::false_type{}).
template <int n, class Body>
void with_layout(bool together, Body&& body) {
  if constexpr (n == 2) {
    if (together) return body(std::true_type{});
  }
  body(std::false_type{});
}

// kCount channels of a tensor at a time, those at group * kCount and after, as float32; zero past
// the last. `at` is where the cell lies, negative for one that does not exist.
template <class T, bool kTogether, int kApart = 4>
struct Channels {
  static constexpr int kCount = kTogether ? 16 / sizeof(T) : kApart;
  T* data;
  int64_t stride, count;

  __device__ Channels(const Tensor& tensor, int channel, int64_t at)
      : data(data_of<T>(tensor) + at),
        stride(tensor.stride[channel]),
        count(tensor.size[channel]) {}

  __device__ void load(int64_t at, int64_t group, float (&to)[kCount]) const {
    const T* from = data + at + group * kCount * stride;
    if constexpr (kTogether) {
      T packet[kCount];
      const uint4 bits = at >= 0 ? __ldg(reinterpret_cast<const uint4*>(from)) : uint4{};
      memcpy(static_cast<void*>(packet), &bits, sizeof bits);
#pragma unroll
      for (int i = 0; i < kCount; ++i) to[i] = to_float(packet[i]);
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        to[i] = at >= 0 && group * kCount + i < count ? to_float(__ldg(from + i * stride)) : 0.0f;
    }
  }

  __device__ void store(int64_t at, int64_t group, const float (&from)[kCount]) const {
    T* to = data + at + group * kCount * stride;
    if constexpr (kTogether) {
      T packet[kCount];
#pragma unroll
      for (int i = 0; i < kCount; ++i) from_float(from[i], packet[i]);
      uint4 bits;
      memcpy(&bits, static_cast<const void*>(packet), sizeof bits);
      *reinterpret_cast<uint4*>(to) = bits;
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        if (group * kCount + i < count) from_float(from[i], to[i * stride]);
    }
  }
};

// What follows from the parameters for all threads.
template <int rank>
struct Call {
  Params params;
  Axis<float> axes[rank];
  int64_t in_size[rank], out_size[rank];  // x, y[, z]
  int64_t items, outputs;
  int64_t points = 1;  // of an output

  explicit Call(const Params& of)
      : params(of), items(of.input.size[0]), outputs(of.weight ? 1 : of.coordinates.size[1]) {
    for (int i = 0; i < rank; ++i) {
      in_size[i] = of.input.size[4 - i];
      out_size[i] = of.coordinates.size[4 - i];
      axes[i] = Axis<float>(in_size[i], out_size[i], of.align_corners, rank == 3);
      points *= out_size[i];
    }
  }
};

// How `cells` of some space with so many channels fall to blocks and threads.
struct Cut {
  int64_t cells, tiles;
  int64_t groups;  // of channels
  int tile;        // cells a block has, a power of two
  int lanes;       // threads at the channels of one cell where those lie together; likewise

  Cut(int64_t cells, int64_t channels, int in_group)
      : cells(cells), groups((channels + in_group - 1) / in_group), lanes(1) {
    while (lanes < 32 && lanes * 2 <= groups) lanes *= 2;
    tile = kThreads / std::min(lanes, 4);
    tiles = (cells + tile - 1) / tile;
    check(cells <= int64_t{UINT32_MAX}, "grid_sample: more than 2^32 - 1 cells a channel");
  }

  dim3 blocks(int64_t spaces) const {
    check(tiles * spaces < int64_t{1} << 31, "grid_sample: too many points for one call");
    return dim3(static_cast<unsigned>(tiles * spaces));
  }
};

// The cells [first, first + count) of one space, an item's number `output`, and which of them and
// of their channels the thread takes.
struct Job {
  int64_t item, output, first;
  int count;
  int thread = threadIdx.x;
  int own, step;
  int64_t group, group_step;

  __device__ Job(const Cut& cut, int64_t outputs, bool together) {
    // In 32 bits: in 64 a division is a call, around which registers are saved.
    const auto tiles = static_cast<unsigned>(cut.tiles), spaces = static_cast<unsigned>(outputs);
    item = blockIdx.x / tiles / spaces;
    output = blockIdx.x / tiles % spaces;
    first = static_cast<int64_t>(blockIdx.x % tiles) * cut.tile;
    count = static_cast<int>(min(int64_t{cut.tile}, cut.cells - first));
    const int side_by_side = together ? cut.lanes : cut.tile;
    const int near = thread % side_by_side, far = thread / side_by_side;
    own = together ? far : near;
    step = together ? kThreads / cut.lanes : cut.tile;
    group = together ? near : far;
    group_step = together ? cut.lanes : kThreads / cut.tile;
  }
};

// A cell's place in a space of sizes x, y[, z], and its offset in a tensor whose dimension of that
// space's z is `space`.
template <int rank>
struct CellOf {
  int64_t at[rank];

  __device__ CellOf(int64_t number, const int64_t (&sizes)[rank]) {
    auto cell = static_cast<uint32_t>(number);
#pragma unroll
    for (int i = 0; i < rank; ++i) {
      const auto size = static_cast<uint32_t>(sizes[i]);
      at[i] = i + 1 < rank ? cell % size : cell;
      cell /= size;
    }
  }
  __device__ int64_t offset(const Tensor& tensor, int space) const {
    int64_t sum = 0;
#pragma unroll
    for (int i = 0; i < rank; ++i) sum += at[i] * tensor.stride[space + 2 - i];
    return sum;
  }
};

// Where point threadIdx.x % tile of a tile samples, in cells of the input. Sums of fields are
// shared by the threads with that point, in an order that is always the same; the result is right
// in threads below the tile's size. All threads of the block must call.
template <int rank>
__device__ inline void find_position(const Call<rank>& call, const Job& job, int tile,
                                     float (&x)[rank]) {
  const Params& params = call.params;
  const Tensor &coordinates = params.coordinates, &weight = params.weight;
  const int point = threadIdx.x % tile, part = threadIdx.x / tile, parts = kThreads / tile;
  const CellOf<rank> cell(job.first + point, call.out_size);
  const auto add = [&](int64_t field, float factor) {
    const int64_t at = job.item * coordinates.stride[0] + field * coordinates.stride[1] +
                       cell.offset(coordinates, 2);
#pragma unroll
    for (int i = 0; i < rank; ++i)
      x[i] +=
          factor * read_float(coordinates.data, coordinates.dtype, at + i * coordinates.stride[5]);
  };
#pragma unroll
  for (int i = 0; i < rank; ++i) x[i] = 0.0f;
  if (weight.data) {
    for (int64_t field = part; point < job.count && field < coordinates.size[1]; field += parts)
      add(field, read_float(weight.data, weight.dtype,
                            job.item * weight.stride[0] + field * weight.stride[1] +
                                cell.offset(weight, 2)));
    __shared__ float sums[rank][kThreads];
#pragma unroll
    for (int i = 0; i < rank; ++i) sums[i][threadIdx.x] = x[i];
    __syncthreads();
    for (int other = 1; part == 0 && other < parts; ++other)
#pragma unroll
      for (int i = 0; i < rank; ++i) x[i] += sums[i][point + other * tile];
  } else if (part == 0 && point < job.count) {
    add(job.output, 1.0f);
  }
#pragma unroll
  for (int i = 0; i < rank; ++i)
    x[i] = params.displacement
               ? from_displacement(x[i], static_cast<float>(cell.at[i]), call.axes[i])
               : from_grid(x[i], call.axes[i]);
}

// The taps of one point.
template <int rank, int n>
struct Taps {
  static constexpr int kCount = power(n, rank);
  float cell[rank][n], weight[rank][n], slope[rank][n];

  __device__ Taps(const Call<rank>& call, const float (&x)[rank]) {
#pragma unroll
    for (int i = 0; i < rank; ++i)
      taps_along(x[i], call.axes[i], call.params.padding, cell[i], weight[i], slope[i]);
  }

  __device__ bool inside(const Call<rank>& call, int tap) const {
    bool inside = true;
#pragma unroll
    for (int i = 0; i < rank; ++i) {
      const float at = cell[i][tap_along<n>(tap, i)];
      inside &= at >= 0 && at <= call.axes[i].last;
    }
    return inside;
  }
  // In a tensor whose last three dimensions are the input's space; -1 outside.
  __device__ int64_t offset(const Call<rank>& call, int tap, const Tensor& tensor) const {
    if (!inside(call, tap)) return -1;
    int64_t sum = 0;
#pragma unroll
    for (int i = 0; i < rank; ++i)
      sum += static_cast<int64_t>(cell[i][tap_along<n>(tap, i)]) * tensor.stride[4 - i];
    return sum;
  }
  // A position that is not finite has weights that are not: torch lets them through in 2-D.
  __device__ float product(const Call<rank>& call, int tap) const {
    if (rank == 3 && !inside(call, tap)) return 0.0f;
    float product = 1.0f;
#pragma unroll
    for (int i = 0; i < rank; ++i) product *= weight[i][tap_along<n>(tap, i)];
    return product;
  }
};

// A tile's taps in shared memory: where in the input, and how much.
template <int kTaps>
struct TapTable {
  int tile;
  int64_t* at;  // [kTaps][tile]
  float* weight;

  static size_t bytes(int tile) { return size_t(tile) * kTaps * (sizeof(int64_t) + sizeof(float)); }
  __device__ explicit TapTable(int tile)
      : tile(tile),
        at(motion_lab::cuda::dynamic_shared<int64_t>()),
        weight(reinterpret_cast<float*>(at + kTaps * tile)) {}

  template <int rank, int n>
  __device__ void fill(const Call<rank>& call, const Taps<rank, n>& taps, const Tensor& tensor,
                       float factor) const {
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      at[tap * tile + threadIdx.x] = taps.offset(call, tap, tensor);
      weight[tap * tile + threadIdx.x] = taps.product(call, tap) * factor;
    }
  }
};

// The mask at the thread's point; 1 where there is none.
template <int rank>
__device__ inline float mask_of(const Call<rank>& call, const Job& job) {
  const Tensor& mask = call.params.mask;
  if (!mask.data) return 1.0f;
  const CellOf<rank> cell(job.first + job.thread, call.out_size);
  return read_float(mask.data, mask.dtype, job.item * mask.stride[0] + cell.offset(mask, 1));
}

}  // namespace motion_lab::grid_sample::cuda
