// The scan forward on the GPU. A block runs one channel of one sequence, a chunk of time after
// another. Within a chunk each thread holds kItems consecutive steps; for every state the threads'
// steps, as maps h -> a h + b, are composed by a scan over the block.
#include "common/cuda.h"
#include "selective_scan/contract.h"
#include "selective_scan/math.h"

namespace motion_lab::selective_scan::cuda {
namespace {

using motion_lab::cuda::data_of;
using motion_lab::cuda::read_float;
using motion_lab::cuda::write_float;

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

// h -> a h + b
struct Map {
  float a, b;
};

// first, then second
__device__ inline Map compose(Map first, Map second) {
  return {second.a * first.a, second.a * first.b + second.b};
}

// The composition of the maps of all threads before this one. `totals` holds one map a warp.
template <int kThreads>
__device__ Map compose_before(Map own, Map* totals) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  Map upto = own;
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const Map before = {__shfl_up_sync(kAllLanes, upto.a, distance),
                        __shfl_up_sync(kAllLanes, upto.b, distance)};
    if (lane >= distance) upto = compose(before, upto);
  }
  if (lane == kWarp - 1) totals[warp] = upto;
  Map before = {__shfl_up_sync(kAllLanes, upto.a, 1), __shfl_up_sync(kAllLanes, upto.b, 1)};
  if (lane == 0) before = {1.0f, 0.0f};
  __syncthreads();
  Map warps = {1.0f, 0.0f};
  for (int w = 0; w < warp; ++w) warps = compose(warps, totals[w]);
  return compose(warps, before);
}

// A line of a tensor along time, in the order of the scan.
struct Line {
  void* data;
  DType dtype;
  int64_t start, stride;
};

__device__ inline Line line_of(const Tensor& tensor, int64_t row, int64_t channel, int64_t first,
                               int64_t sign) {
  return {tensor.data, tensor.dtype,
          row * tensor.stride[0] + channel * tensor.stride[1] + first * tensor.stride[2],
          sign * tensor.stride[2]};
}

// One word is skipped every 32, so that neither neighbouring nor strided reads share a bank.
__device__ inline int padded(int i) { return i + i / kWarp; }

// Steps [begin, begin + kThreads * kItems) of a line, each thread's own in `items`, zeros past
// `count`. Neighbouring threads read neighbouring steps; `staged` redistributes them.
template <int kThreads, int kItems>
__device__ void load(const Line& line, int64_t begin, int count, float* staged, float* items) {
  __syncthreads();
  for (int i = threadIdx.x; i < kThreads * kItems; i += kThreads)
    staged[padded(i)] =
        i < count ? read_float(line.data, line.dtype, line.start + (begin + i) * line.stride)
                  : 0.0f;
  __syncthreads();
  for (int i = 0; i < kItems; ++i) items[i] = staged[padded(threadIdx.x * kItems + i)];
}

template <int kThreads, int kItems>
__device__ void store(const Line& line, int64_t begin, int count, float* staged,
                      const float* items) {
  __syncthreads();
  for (int i = 0; i < kItems; ++i) staged[padded(threadIdx.x * kItems + i)] = items[i];
  __syncthreads();
  for (int i = threadIdx.x; i < count; i += kThreads)
    write_float(line.data, line.dtype, line.start + (begin + i) * line.stride, staged[padded(i)]);
}

// B or C of one state: a line, or one value for all steps.
template <int kThreads, int kItems>
__device__ void load_coefficient(const Tensor& tensor, int64_t row, int64_t channel, int64_t dim,
                                 int64_t state, int64_t first, int64_t sign, int64_t begin,
                                 int count, float* staged, float* items) {
  if (tensor.dims == 2) {
    const float value =
        data_of<float>(tensor)[channel * tensor.stride[0] + state * tensor.stride[1]];
    for (int i = 0; i < kItems; ++i) items[i] = value;
    return;
  }
  const int64_t group = channel / (dim / tensor.size[1]);
  const Line line = {tensor.data, tensor.dtype,
                     row * tensor.stride[0] + group * tensor.stride[1] + state * tensor.stride[2] +
                         first * tensor.stride[3],
                     sign * tensor.stride[3]};
  load<kThreads, kItems>(line, begin, count, staged, items);
}

__device__ inline float channel_value(const Tensor& tensor, int64_t channel) {
  return tensor.data ? data_of<float>(tensor)[channel * tensor.stride[0]] : 0.0f;
}

// Registers for so many resident warps; left to itself ptxas spills on sm_90 and sm_100.
constexpr int kResidentWarps = 21;

template <int kThreads, int kItems>
__global__ void __launch_bounds__(kThreads, (kResidentWarps * kWarp) / kThreads)
    forward_kernel(Inputs inputs, Outputs outputs) {
  constexpr int kSteps = kThreads * kItems;
  __shared__ float staged[kSteps + kSteps / kWarp];
  __shared__ Map totals[kThreads / kWarp];

  const int64_t dim = inputs.u.size[1], length = inputs.u.size[2], states = inputs.A.size[1];
  const int64_t sequence = blockIdx.x / dim, channel = blockIdx.x % dim;
  int64_t row = sequence, start = 0, end = length;
  if (inputs.cu_seqlens.data) {
    const int32_t* bounds = data_of<int32_t>(inputs.cu_seqlens);
    const int64_t stride = inputs.cu_seqlens.stride[0];
    row = 0;
    // Bounds on the device cannot be checked from the host; wrong ones must still touch no memory
    // outside.
    start = max(int64_t{bounds[sequence * stride]}, int64_t{0});
    end = min(int64_t{bounds[(sequence + 1) * stride]}, length);
  }
  const int64_t first = inputs.reverse ? end - 1 : start, sign = inputs.reverse ? -1 : 1;
  const Line u = line_of(inputs.u, row, channel, first, sign);
  const Line delta = line_of(inputs.delta, row, channel, first, sign);
  const Line out = line_of(outputs.out, row, channel, first, sign);
  const float skip = channel_value(inputs.D, channel);
  const float bias = channel_value(inputs.delta_bias, channel);

  // The last state's place carries each state from chunk to chunk.
  const Tensor& last = outputs.last_state;
  float* carried = data_of<float>(last) + sequence * last.stride[0] + channel * last.stride[1];
  for (int64_t n = threadIdx.x; n < states; n += kThreads) {
    const Tensor& initial = inputs.initial_state;
    carried[n * last.stride[2]] =
        initial.data ? data_of<float>(initial)[sequence * initial.stride[0] +
                                               channel * initial.stride[1] + n * initial.stride[2]]
                     : 0.0f;
  }

  float d[kItems], x[kItems], y[kItems], coefficient[kItems];
  Map maps[kItems];
  for (int64_t begin = 0; begin < end - start; begin += kSteps) {
    const int count = static_cast<int>(min(int64_t{kSteps}, end - start - begin));
    load<kThreads, kItems>(delta, begin, count, staged, d);
    load<kThreads, kItems>(u, begin, count, staged, x);
    for (int i = 0; i < kItems; ++i) {
      d[i] += bias;
      if (inputs.delta_softplus) d[i] = softplus(d[i]);
      // Steps past the end must leave the state alone.
      if (static_cast<int>(threadIdx.x) * kItems + i >= count) d[i] = 0.0f;
      y[i] = skip * x[i];
    }
    for (int64_t n = 0; n < states; ++n) {
      const float rate =
          data_of<float>(inputs.A)[channel * inputs.A.stride[0] + n * inputs.A.stride[1]];
      load_coefficient<kThreads, kItems>(inputs.B, row, channel, dim, n, first, sign, begin, count,
                                         staged, coefficient);
      Map own = {1.0f, 0.0f};
      for (int i = 0; i < kItems; ++i) {
        maps[i] = {std::exp(d[i] * rate), d[i] * x[i] * coefficient[i]};
        own = compose(own, maps[i]);
      }
      load_coefficient<kThreads, kItems>(inputs.C, row, channel, dim, n, first, sign, begin, count,
                                         staged, coefficient);
      const Map before = compose_before<kThreads>(own, totals);
      float h = before.a * carried[n * last.stride[2]] + before.b;
      for (int i = 0; i < kItems; ++i) {
        h = maps[i].a * h + maps[i].b;
        y[i] += coefficient[i] * h;
      }
      __syncthreads();  // all have read the carried state and the totals
      if (threadIdx.x == kThreads - 1) carried[n * last.stride[2]] = h;
    }
    if (inputs.z.data) {
      load<kThreads, kItems>(line_of(inputs.z, row, channel, first, sign), begin, count, staged,
                             coefficient);
      for (int i = 0; i < kItems; ++i) y[i] *= silu(coefficient[i]);
    }
    store<kThreads, kItems>(out, begin, count, staged, y);
  }
}

}  // namespace

void forward(const Inputs& inputs, const Outputs& outputs, int device, uintptr_t stream) {
  const motion_lab::cuda::Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  const int64_t blocks = outputs.last_state.size[0] * inputs.u.size[1];
  check(blocks < (int64_t{1} << 31), "selective_scan: sequences times dim must be below 2^31");
  const dim3 grid(static_cast<unsigned>(blocks));
  if (inputs.u.size[2] <= 128)
    motion_lab::cuda::launch(forward_kernel<32, 4>, grid, dim3(32), 0, place, inputs, outputs);
  else if (inputs.u.size[2] <= 512)
    motion_lab::cuda::launch(forward_kernel<64, 8>, grid, dim3(64), 0, place, inputs, outputs);
  else
    motion_lab::cuda::launch(forward_kernel<128, 8>, grid, dim3(128), 0, place, inputs, outputs);
}

}  // namespace motion_lab::selective_scan::cuda
