// The backward pass on the GPU: a kernel for what each query's pairs have in common, one for the
// queries' gradients and one for those of keys and values; see cuda_tiles.h for how they are cut.
#include "region_attention/cuda_backward.h"

namespace motion_lab::region_attention::cuda {
namespace {

constexpr int kInnerThreads = 128;

// Each query's sum of weight * weight's gradient, which equals out · grad_out - grad_lse. A warp a
// query.
template <class Element>
__global__ void __launch_bounds__(kInnerThreads) inner_kernel(Gradients gradients, Tensor inner) {
  const int64_t batches = inner.size[0], heads = inner.size[1], length = inner.size[2];
  const int64_t row = (int64_t{blockIdx.x} * kInnerThreads + threadIdx.x) / kWarp;
  if (row >= batches * heads * length) return;
  const int64_t query = row % length, head = row / length % heads, batch = row / length / heads;
  const Head<const Element> out(gradients.out, batch, head);
  const Head<const Element> grad(gradients.grad_out, batch, head);
  float sum = 0.0f;
  for (int64_t d = threadIdx.x % kWarp; d < gradients.out.size[3]; d += kWarp)
    sum += static_cast<float>(out.data[query * out.token + d * out.channel]) *
           static_cast<float>(grad.data[query * grad.token + d * grad.channel]);
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) sum += __shfl_xor_sync(kAllLanes, sum, lanes);
  if (threadIdx.x % kWarp != 0) return;
  const Tensor& lse = gradients.grad_lse;
  if (lse.data && softmax_of(gradients, batch, head, query)[1] != 0.0f)
    sum -= static_cast<const float*>(
        lse.data)[batch * lse.stride[0] + head * lse.stride[1] + query * lse.stride[2]];
  static_cast<float*>(inner.data)[row] = sum;
}

}  // namespace

void backward(const Inputs& inputs, const Gradients& gradients, const Tensor& q_words,
              const Tensor& k_words, const Tensor& inner, int device, uintptr_t stream) {
  const Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  class_tiles(inputs, q_words, k_words, place);
  constexpr int64_t kWarps = kInnerThreads / kWarp;
  if (const int64_t blocks = (inner.count() + kWarps - 1) / kWarps) {
    dispatch(inputs.q, [&](auto element, auto) {
      check(blocks < int64_t{1} << 31, "region_attention: too many tokens and heads for one call");
      launch(inner_kernel<decltype(element)>, dim3(static_cast<unsigned>(blocks)),
             dim3(kInnerThreads), 0, place, gradients, inner);
    });
  }
  backward_queries(inputs, gradients, q_words, k_words, inner, place);
  backward_keys(inputs, gradients, q_words, k_words, inner, place);
}

}  // namespace motion_lab::region_attention::cuda
