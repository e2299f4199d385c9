// How the GPU scan cuts its work. A block runs some channels of one sequence that share B and C,
// through time in chunks of kChunk steps. A lane holds one state of a channel, or two: what a step
// gives to y is added up over lanes, and nothing is scanned but the loop over time. Chunks are
// staged in shared memory, where channels share B and C, and softplus is taken once for all states.
#pragma once

#include "common/cuda.h"
#include "selective_scan/contract.h"
#include "selective_scan/math.h"

namespace motion_lab::selective_scan::cuda {

using motion_lab::cuda::data_of;
using motion_lab::cuda::read_float;
using motion_lab::cuda::write_float;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kSteps = static_cast<int>(kChunk);
constexpr int kStates = 16;  // scanned at once; more states take more rounds over a chunk

// The blocks of one sequence: `parts` for each of the groups that share B and C.
struct Cut {
  int64_t group_size, groups, parts;

  Cut(const Inputs& inputs, int channels) {
    groups = inputs.B.dims == 4 ? inputs.B.size[1] : inputs.C.dims == 4 ? inputs.C.size[1] : 1;
    group_size = inputs.u.size[1] / groups;
    parts = (group_size + channels - 1) / channels;
  }
};

// What a block works on: channels [first, first + count) of steps [start, end) of a batch row.
struct Job {
  int64_t sequence, row, group, part, first, start, end, first_chunk;
  int count;

  __device__ Job(const Inputs& inputs, const Cut& cut, int channels) {
    part = blockIdx.x % cut.parts;
    group = blockIdx.x / cut.parts % cut.groups;
    sequence = blockIdx.x / cut.parts / cut.groups;
    first = group * cut.group_size + part * channels;
    count = static_cast<int>(min(int64_t{channels}, cut.group_size - part * channels));
    row = sequence;
    start = 0;
    end = inputs.u.size[2];
    first_chunk = sequence * ((end + kChunk - 1) / kChunk);
    if (!inputs.cu_seqlens.data) return;
    const int32_t* bounds = data_of<int32_t>(inputs.cu_seqlens);
    const int64_t stride = inputs.cu_seqlens.stride[0];
    row = 0;
    // Bounds on the device cannot be checked from the host; wrong ones must still touch no memory
    // outside.
    start = min(max(int64_t{bounds[sequence * stride]}, int64_t{0}), end);
    end = min(max(int64_t{bounds[(sequence + 1) * stride]}, start), end);
    first_chunk = start / kChunk + sequence;
  }

  __device__ int64_t chunks() const { return (end - start + kChunk - 1) / kChunk; }
};

// The steps of a chunk in the order of the scan.
struct Steps {
  int64_t first, sign;
  int count;

  __device__ Steps(const Job& job, int64_t chunk, bool reverse) {
    const int64_t done = chunk * kChunk;
    first = reverse ? job.end - 1 - done : job.start + done;
    sign = reverse ? -1 : 1;
    count = static_cast<int>(min(kChunk, job.end - job.start - done));
  }

  __device__ int64_t time(int step) const { return first + sign * step; }
};

// Which elements of a tile, kSteps × kChannels, a thread handles: neighbours in memory go to
// neighbouring threads.
template <int kThreads, int kChannels>
struct Elements {
  static constexpr int kCount = kSteps * kChannels / kThreads;
  static_assert(kSteps * kChannels % kThreads == 0, "every thread has as many elements");
  bool along_time;

  __device__ explicit Elements(const Tensor& tensor) : along_time(tensor.stride[1] != 1) {}
  __device__ int step(int i) const {
    const int at = threadIdx.x + i * kThreads;
    return along_time ? at % kSteps : at / kChannels;
  }
  __device__ int channel(int i) const {
    const int at = threadIdx.x + i * kThreads;
    return along_time ? at / kSteps : at % kChannels;
  }
};

__device__ inline int64_t offset_of(const Tensor& tensor, const Job& job, const Steps& steps,
                                    int step, int channel) {
  return job.row * tensor.stride[0] + (job.first + channel) * tensor.stride[1] +
         steps.time(step) * tensor.stride[2];
}

// An element of a (batch, dim, length) tensor; zero past the steps and channels there are.
__device__ inline float element(const Tensor& tensor, const Job& job, const Steps& steps, int step,
                                int channel) {
  if (!tensor.data || step >= steps.count || channel >= job.count) return 0.0f;
  return read_float(tensor.data, tensor.dtype, offset_of(tensor, job, steps, step, channel));
}

// B or C at a step: zero for states that there are not, and where it is constant.
__device__ inline float coefficient(const Tensor& tensor, const Job& job, const Steps& steps,
                                    int step, int64_t state, int64_t states) {
  if (tensor.dims == 2 || step >= steps.count || state >= states) return 0.0f;
  return read_float(tensor.data, tensor.dtype,
                    job.row * tensor.stride[0] + job.group * tensor.stride[1] +
                        state * tensor.stride[2] + steps.time(step) * tensor.stride[3]);
}

// An element of a float32 matrix such as A; zero where there is none.
__device__ inline float matrix(const Tensor& tensor, int64_t row, int64_t column, bool there) {
  return there && tensor.data
             ? data_of<float>(tensor)[row * tensor.stride[0] + column * tensor.stride[1]]
             : 0.0f;
}

__device__ inline float channel_value(const Tensor& tensor, int64_t channel, bool there) {
  return there && tensor.data ? data_of<float>(tensor)[channel * tensor.stride[0]] : 0.0f;
}

__device__ inline float* state_of(const Tensor& tensor, int64_t sequence, int64_t channel,
                                  int64_t state) {
  return data_of<float>(tensor) + sequence * tensor.stride[0] + channel * tensor.stride[1] +
         state * tensor.stride[2];
}

// Sums of kValues values over groups of kLanes lanes; lane i gets that of value i modulo kValues.
// Each round halves the values: a lane keeps one half, and gives the other to whom keeps that.
template <int kLanes, int kValues, int kAll = kValues>
__device__ inline float sum_over_lanes(const float (&values)[kValues]) {
  if constexpr (kValues == 1) {
    float sum = values[0];
#pragma unroll
    for (int distance = kAll; distance < kLanes; distance *= 2)
      sum += __shfl_xor_sync(kAllLanes, sum, distance);
    return sum;
  } else {
    constexpr int half = kValues / 2;
    const bool upper = threadIdx.x & half;
    float kept[half];
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float given = upper ? values[i] : values[i + half];
      kept[i] = (upper ? values[i + half] : values[i]) + __shfl_xor_sync(kAllLanes, given, half);
    }
    return sum_over_lanes<kLanes, half, kAll>(kept);
  }
}

}  // namespace motion_lab::selective_scan::cuda
