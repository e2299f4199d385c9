// How the GPU convolution cuts its work. A block has a tile of kSteps steps × kChannels channels,
// staged in shared memory as float32 together with the steps beside it that its outputs see. Global
// memory is read and written 16 bytes at a time along whatever lies side by side, channels or
// steps; what lies otherwise goes element by element.
#pragma once

#include "causal_conv1d/contract.h"
#include "common/cuda.h"

namespace motion_lab::causal_conv1d::cuda {

using motion_lab::cuda::data_of;

constexpr int kChannels = 32, kRuns = 4, kThreads = kChannels * kRuns;
constexpr int kRun = kSteps / kRuns;   // a thread's steps, of one channel
constexpr int kPitch = kChannels + 1;  // steps of one channel are in different banks
constexpr int kVectorBytes = 16;

// Tiles of one batch row: across channels and along `rows` steps.
struct Cut {
  int64_t across, along;

  Cut(const Inputs& inputs, int64_t rows)
      : across((inputs.x.size[1] + kChannels - 1) / kChannels),
        along((rows + kSteps - 1) / kSteps) {}
  int64_t blocks(const Inputs& inputs) const { return inputs.x.size[0] * across * along; }
};

// What a block works on: steps from `begin` of some channels of a batch row, and its threads, of
// which each has kRun steps of one channel.
struct Job {
  int64_t row, begin, channel;
  int channels, lane, run;
  bool there;  // the thread's channel

  __device__ Job(const Inputs& inputs, const Cut& cut)
      : row(blockIdx.x / cut.across / cut.along),
        begin(blockIdx.x / cut.across % cut.along * kSteps),
        channel(blockIdx.x % cut.across * kChannels),
        channels(static_cast<int>(min(int64_t{kChannels}, inputs.x.size[1] - channel))),
        lane(threadIdx.x % kChannels),
        run(threadIdx.x / kChannels),
        there(lane < channels) {}
};

// The tile's channels in a (batch, dim, length) tensor.
template <class T>
struct Plane {
  static constexpr int kVector = kVectorBytes / static_cast<int>(sizeof(T));
  struct alignas(kVectorBytes) Pack {
    T items[kVector];
  };

  T* data;
  int64_t across, along, length;
  int channels;
  bool along_time, packed;

  __device__ Plane(const Tensor& tensor, const Job& job)
      : data(data_of<T>(tensor) + job.row * tensor.stride[0] + job.channel * tensor.stride[1]),
        across(tensor.stride[1]),
        along(tensor.stride[2]),
        length(tensor.size[2]),
        channels(job.channels),
        along_time(across != 1 && along == 1),
        packed((across == 1 || along == 1) &&
               reinterpret_cast<uintptr_t>(data) % kVectorBytes == 0 &&
               (along_time ? across : along) % kVector == 0) {}

  // Steps first to first + rows to or from a tile, as far as there are such steps. A tile's
  // channels that are not there are read as zeros.
  __device__ void read(int64_t first, int rows, float* tile) const {
    transfer<false>(first, rows, tile);
  }
  __device__ void write(int64_t first, int rows, float* tile) const {
    transfer<true>(first, rows, tile);
  }

 private:
  template <bool kStore>
  __device__ void transfer(int64_t first, int rows, float* tile) const {
    if (packed)
      vectors<kStore, kVector>(first, rows, tile);
    else
      vectors<kStore, 1>(first, rows, tile);
  }

  template <bool kStore, int kCount>
  __device__ void vectors(int64_t first, int rows, float* tile) const {
    // Vectors along time begin where memory is aligned, maybe before the first step.
    const int early = along_time ? static_cast<int>((first % kCount + kCount) % kCount) : 0;
    const int each = along_time ? (rows + early + kCount - 1) / kCount : kChannels / kCount;
    const int all = each * (along_time ? kChannels : rows);
    for (int at = threadIdx.x; at < all; at += kThreads) {
      const int place = at % each * kCount, line = at / each;
      const int row = along_time ? place - early : line, channel = along_time ? line : place;
      const int64_t step = first + row;
      T* start = data + channel * across + step * along;
      const int to_row = along_time, to_channel = !along_time;
      const auto inside = [&](int i) {
        const int64_t t = step + i * to_row;
        return row + i * to_row >= 0 && row + i * to_row < rows && t >= 0 && t < length;
      };
      const auto cell = [&](int i) -> float& {
        return tile[(row + i * to_row) * kPitch + channel + i * to_channel];
      };
      if (kCount > 1 && inside(0) && inside(kCount - 1) &&
          channel + (kCount - 1) * to_channel < channels) {
        Pack pack;
        if (!kStore) pack = *reinterpret_cast<const Pack*>(start);
#pragma unroll
        for (int i = 0; i < kCount; ++i) {
          if (kStore)
            pack.items[i] = static_cast<T>(cell(i));
          else
            cell(i) = static_cast<float>(pack.items[i]);
        }
        if (kStore) *reinterpret_cast<Pack*>(start) = pack;
        continue;
      }
      for (int i = 0; i < kCount; ++i) {
        if (!inside(i)) continue;
        const bool there = channel + i * to_channel < channels;
        T* element = start + i * (along_time ? along : across);
        if (kStore) {
          if (there) *element = static_cast<T>(cell(i));
        } else {
          cell(i) = there ? static_cast<float>(*element) : 0.0f;
        }
      }
    }
  }
};

// The rows of a tile, from `first` on, that are no steps of x: body(row, index) with their place in
// the edge, negative where they are none of its either.
template <class Body>
__device__ void for_edge_rows(const Inputs& inputs, int64_t first, int rows, const Job& job,
                              Body body) {
  const int64_t length = inputs.x.size[2], edges = inputs.weight.size[1] - 1;
  const int64_t lead = inputs.reverse ? 0 : edges;
  const int before = static_cast<int>(min(max(lead - first, int64_t{0}), int64_t{rows}));
  const int64_t end = max(lead + length - first, int64_t{before});  // of x's own rows
  const int after = static_cast<int>(max(rows - end, int64_t{0}));
  for (int i = job.run; i < before + after; i += kRuns) {
    const int row = i < before ? i : rows - after + (i - before);
    const int64_t index = first + row - (inputs.reverse ? length : 0);
    body(row, index < edges ? index : -1);
  }
}

// An element of the (batch, dim, width - 1) tensors of what x is continued by.
template <class T>
__device__ T& edge_of(const Tensor& edge, const Job& job, int64_t index) {
  return data_of<T>(edge)[job.row * edge.stride[0] + (job.channel + job.lane) * edge.stride[1] +
                          index * edge.stride[2]];
}

// Rows of x and what it is continued by, to a tile.
template <class T>
__device__ void read_signal(const Inputs& inputs, int64_t first, int rows, const Job& job,
                            float* tile) {
  const int64_t lead = inputs.reverse ? 0 : inputs.weight.size[1] - 1;
  Plane<T>(inputs.x, job).read(first - lead, rows, tile);
  for_edge_rows(inputs, first, rows, job, [&](int row, int64_t index) {
    const bool given = inputs.edge.data && job.there && index >= 0;
    tile[row * kPitch + job.lane] =
        given ? static_cast<float>(edge_of<T>(inputs.edge, job, index)) : 0.0f;
  });
}

// A thread's taps in the order of time and, last, the bias.
__device__ inline float tap_of(const Inputs& inputs, const Job& job, int k, int width) {
  const int64_t channel = job.channel + job.lane;
  if (!job.there) return 0.0f;
  if (k == width)
    return inputs.bias.data ? data_of<float>(inputs.bias)[channel * inputs.bias.stride[0]] : 0.0f;
  const int at = inputs.reverse ? width - 1 - k : k;
  return data_of<float>(
      inputs.weight)[channel * inputs.weight.stride[0] + at * inputs.weight.stride[1]];
}

// Adds Σ_k tap_k column[(i + k) * kPitch], or column[(i - k) * kPitch] backwards, to sums[i].
template <int kCount, bool kBackwards>
__device__ void correlate(const Inputs& inputs, const Job& job, int width, const float* column,
                          float (&sums)[kCount]) {
#pragma unroll
  for (int k = 0; k < width; ++k) {
    const float tap = tap_of(inputs, job, k, width);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sums[i] += tap * column[(kBackwards ? i - k : i + k) * kPitch];
  }
}

}  // namespace motion_lab::causal_conv1d::cuda
