// The convolution on the GPU, forward and backward; see cuda_tile.h for how it is cut.
#include "causal_conv1d/cuda_tile.h"

namespace motion_lab::causal_conv1d::cuda {
namespace {

// In few instructions: at the speed of memory there is time for some thirty an element.
__device__ inline float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

// kWidth taps, or any number where it is 0.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) forward_kernel(Inputs inputs, Tensor out, Cut cut) {
  float* const tile = motion_lab::cuda::dynamic_shared<float>();
  const Job job(inputs, cut);
  const int width = kWidth ? kWidth : static_cast<int>(inputs.weight.size[1]);
  read_signal<T>(inputs, job.begin, kSteps + width - 1, job, tile);
  __syncthreads();

  float* const column = tile + job.run * kRun * kPitch + job.lane;
  float sums[kRun];
#pragma unroll
  for (float& sum : sums) sum = tap_of(inputs, job, width, width);
  correlate<kRun, false>(inputs, job, width, column, sums);
  __syncthreads();  // neighbouring runs have read the tile
#pragma unroll
  for (int i = 0; i < kRun; ++i)
    column[i * kPitch] = inputs.silu ? sums[i] * sigmoid(sums[i]) : sums[i];
  __syncthreads();
  Plane<T>(out, job).write(job.begin, kSteps, tile);
}

// With g the gradient of out, d that of what is before SiLU, and rows s those of x and its edge:
//
//   dp_s = Σ_k tap_k d_{s-k},   dtap_k = Σ_t d_t p_{t+k},   dbias = Σ_t d_t.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    backward_kernel(Inputs inputs, Gradients gradients, float* partials, Cut cut) {
  const Job job(inputs, cut);
  const int width = kWidth ? kWidth : static_cast<int>(inputs.weight.size[1]), edges = width - 1;
  // Both begin `edges` rows before the block's own.
  float* const signal = motion_lab::cuda::dynamic_shared<float>();
  float* const slope = signal + (kSteps + 2 * edges) * kPitch;
  float* const sums = slope + (kSteps + edges) * kPitch;  // by tap, run and channel
  const int64_t before = job.begin - edges;

  read_signal<T>(inputs, before, kSteps + 2 * edges, job, signal);
  const Plane<T> given(gradients.out, job);
  given.read(before, kSteps + edges, slope);
  for (int row = job.run; row < kSteps + edges; row += kRuns)
    if (before + row < 0 || before + row >= given.length) slope[row * kPitch + job.lane] = 0.0f;
  __syncthreads();

  // A run at a time, and what is left beyond the last.
  const auto slopes = [&](auto& pre, int first) {
    constexpr int count = sizeof(pre) / sizeof(float);
#pragma unroll
    for (float& x : pre) x = tap_of(inputs, job, width, width);
    correlate<count, false>(inputs, job, width, signal + first * kPitch + job.lane, pre);
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const float open = sigmoid(pre[i]);
      slope[(first + i) * kPitch + job.lane] *= open * (1.0f + pre[i] * (1.0f - open));
    }
  };
  if (inputs.silu) {
    float run[kRun], single[1];
    slopes(run, job.run * kRun);
    for (int row = kSteps + job.run; row < kSteps + edges; row += kRuns) slopes(single, row);
    __syncthreads();
  }

  const int own = (edges + job.run * kRun) * kPitch + job.lane;
  float found[kRun] = {};
  correlate<kRun, true>(inputs, job, width, slope + own, found);
#pragma unroll
  for (int k = 0; k <= width; ++k) {
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kRun; ++i)
      sum += slope[own + i * kPitch] * (k < width ? signal[own + (i + k) * kPitch] : 1.0f);
    sums[(k * kRuns + job.run) * kChannels + job.lane] = sum;
  }
  __syncthreads();

  for (int k = job.run; k <= width; k += kRuns) {
    float sum = 0.0f;
#pragma unroll
    for (int run = 0; run < kRuns; ++run) sum += sums[(k * kRuns + run) * kChannels + job.lane];
    const int at = k < width && inputs.reverse ? width - 1 - k : k;
    const int64_t tile = blockIdx.x / cut.across;
    if (job.there)
      partials[(tile * (width + 1) + at) * inputs.x.size[1] + job.channel + job.lane] = sum;
  }
  // In the signal's place, which has been read.
#pragma unroll
  for (int i = 0; i < kRun; ++i) signal[(job.run * kRun + i) * kPitch + job.lane] = found[i];
  __syncthreads();
  Plane<T>(gradients.x, job).write(job.begin - (inputs.reverse ? 0 : edges), kSteps, signal);
  for_edge_rows(inputs, job.begin, kSteps, job, [&](int row, int64_t index) {
    if (gradients.edge.data && job.there && index >= 0)
      edge_of<T>(gradients.edge, job, index) = static_cast<T>(signal[row * kPitch + job.lane]);
  });
}

// Calls body(T{}) with the device's type of x.
template <class Body>
void dispatch(DType dtype, Body&& body) {
  check(dtype != DType::float64, "causal_conv1d: the CUDA kernels compute in float32 alone");
  if (dtype == DType::bfloat16)
    body(__nv_bfloat16{});
  else if (dtype == DType::float16)
    body(__half{});
  else
    body(float{});
}

template <class Kernel, class... Arguments>
void launch(Kernel kernel, const Inputs& inputs, const Cut& cut, int64_t shared_floats,
            motion_lab::cuda::Place place, const Arguments&... arguments) {
  check(inputs.weight.size[1] <= kMostTaps, "causal_conv1d: too many taps for the CUDA kernels");
  const int64_t blocks = cut.blocks(inputs);
  check(blocks < int64_t{1} << 31, "causal_conv1d: too many channels and steps for one call");
  motion_lab::cuda::launch(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads),
                           static_cast<size_t>(shared_floats) * sizeof(float), place, inputs,
                           arguments..., cut);
}

constexpr int kMambas = 4;  // the width that every Mamba has

}  // namespace

void forward(const Inputs& inputs, const Tensor& out, int device, uintptr_t stream) {
  const motion_lab::cuda::Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  const int64_t width = inputs.weight.size[1];
  dispatch(inputs.x.dtype, [&](auto type) {
    using T = decltype(type);
    launch(width == kMambas ? forward_kernel<T, kMambas> : forward_kernel<T, 0>, inputs,
           Cut(inputs, inputs.x.size[2]), (kSteps + width - 1) * kPitch, place, out);
  });
}

void backward(const Inputs& inputs, const Gradients& gradients, const Tensor& partials, int device,
              uintptr_t stream) {
  const motion_lab::cuda::Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  const int64_t width = inputs.weight.size[1], edges = width - 1;
  dispatch(inputs.x.dtype, [&](auto type) {
    using T = decltype(type);
    launch(width == kMambas ? backward_kernel<T, kMambas> : backward_kernel<T, 0>, inputs,
           Cut(inputs, inputs.x.size[2] + edges),
           (2 * kSteps + 3 * edges) * kPitch + (width + 1) * kThreads, place, gradients,
           partials.as<float>());
  });
}

}  // namespace motion_lab::causal_conv1d::cuda
