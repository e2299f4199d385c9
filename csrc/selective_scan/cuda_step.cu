// One step of the scan on the GPU: a lane a state, the state updated in place.
#include "selective_scan/cuda_tiles.h"

namespace motion_lab::selective_scan::cuda {
namespace {

constexpr int kThreads = 128, kChannels = kThreads / kStates;

__device__ inline float* row_of(const Tensor& tensor, int64_t i, int64_t j) {
  return data_of<float>(tensor) + i * tensor.stride[0] + j * tensor.stride[1];
}

__global__ void __launch_bounds__(kThreads) step_kernel(Step step) {
  const int64_t dim = step.u.size[1], states = step.A.size[1];
  const int64_t parts = (dim + kChannels - 1) / kChannels;
  const int64_t batch = blockIdx.x / parts;
  const int64_t channel = blockIdx.x % parts * kChannels + threadIdx.x / kStates;
  const int lane = threadIdx.x % kStates;
  const bool there = channel < dim;

  float part[1] = {0.0f}, x = 0.0f;
  if (there) {
    const int64_t group = channel / (dim / step.B.size[1]);
    x = *row_of(step.u, batch, channel);
    float d = *row_of(step.delta, batch, channel) + channel_value(step.delta_bias, channel, true);
    if (step.delta_softplus) d = softplus(d);
    for (int64_t n = lane; n < states; n += kStates) {
      float& h = row_of(step.state, batch, channel)[n * step.state.stride[2]];
      const float decay =
          motion_lab::cuda::exp2_approx(d * matrix(step.A, channel, n, true) * kLog2E);
      h = decay * h + d * x * row_of(step.B, batch, group)[n * step.B.stride[2]];
      part[0] += h * row_of(step.C, batch, group)[n * step.C.stride[2]];
    }
  }
  float y = sum_over_lanes<kStates>(part);
  if (!there || lane != 0) return;
  y += channel_value(step.D, channel, true) * x;
  if (step.z.data) y *= silu(*row_of(step.z, batch, channel));
  *row_of(step.out, batch, channel) = y;
}

}  // namespace

void step(const Step& arguments, int device, uintptr_t stream) {
  const motion_lab::cuda::Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  const int64_t parts = (arguments.u.size[1] + kChannels - 1) / kChannels;
  const int64_t blocks = arguments.u.size[0] * parts;
  check(blocks < int64_t{1} << 31, "selective_scan_step: too many channels for one call");
  motion_lab::cuda::launch(step_kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), 0,
                           place, arguments);
}

}  // namespace motion_lab::selective_scan::cuda
