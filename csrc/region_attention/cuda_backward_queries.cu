// The queries' gradients on the GPU: a block owns queries, and streams keys and values.
#include "region_attention/cuda_backward.h"

namespace motion_lab::region_attention::cuda {
namespace {

template <class S>
__global__ void __launch_bounds__(S::kThreads, 2)
    queries_kernel(Inputs inputs, Gradients gradients, Tensor q_words, Tensor k_words,
                   Tensor inner) {
  using Element = typename S::Element;
  __shared__ uint64_t words[S::kRows], key_words[S::kStages][S::kStream];
  const Shared<S, 2> shared;
  const int size = static_cast<int>(inputs.q.size[3]);
  const int64_t heads = inputs.q.size[1], kv_group = heads / inputs.k.size[1];
  const Job job((inputs.q.size[2] + S::kRows - 1) / S::kRows, heads);
  const int64_t begin = int64_t{job.tile} * S::kRows;
  const Side queries(inputs.q_regions, inputs.q_order, q_words, job.batch);
  const Side keys(inputs.k_regions, inputs.k_order, k_words, job.batch);
  const Head<Element> k(inputs.k, job.batch, job.head / kv_group);
  const Head<Element> v(inputs.v, job.batch, job.head / kv_group);
  fetch_rows<S, S::kRows>(shared.own(0), Head<Element>(inputs.q, job.batch, job.head),
                          queries.tokens, begin, size);
  fetch_rows<S, S::kRows>(shared.own(1), Head<Element>(gradients.grad_out, job.batch, job.head),
                          queries.tokens, begin, size);

  fetch_words<S, S::kRows>(words, queries.tokens, begin);
  PerRow<S> top, share, common, scales;
#pragma unroll
  for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t token = begin + row_of<S>(m, half);
      const bool there = token < queries.tokens.length;
      const int64_t query = there ? queries.tokens.place(token) : 0;
      const float* softmax = softmax_of(gradients, job.batch, job.head, query);
      top[m][half] = there ? softmax[0] : 0.0f;
      share[m][half] = there ? softmax[gradients.softmax.stride[3]] : 0.0f;
      common[m][half] =
          there ? static_cast<const float*>(
                      inner.data)[(job.batch * heads + job.head) * queries.tokens.length + query]
                : 0.0f;
      scales[m][half] = static_cast<float>(inputs.scale);
    }

  const float factor = static_cast<float>(inputs.scale * kLog2E);
  Part<S, S::kSize> sums;
  for_each_element<S, S::kSize>([&](int m, int n, int i) { sums[m][n][i] = 0.0f; });
  for_each_tile<S>(
      Walk<S::kStream>(keys, queries.words<S::kRows>(job.tile)),
      [&](int64_t first, int stage) {
        fetch_rows<S, S::kStream>(shared.streamed(stage, 0), k, keys.tokens, first, size);
        fetch_rows<S, S::kStream>(shared.streamed(stage, 1), v, keys.tokens, first, size);
        fetch_words<S, S::kStream>(key_words[stage], keys.tokens, first);
      },
      [&](int stage, bool full) {
        Part<S, S::kStream> weights, grads;
        multiply_rows<S>(weights, shared.mine(0), shared.streamed(stage, 0), size);
        multiply_rows<S>(grads, shared.mine(1), shared.streamed(stage, 1), size);
        for_each_element<S, S::kStream>([&](int m, int n, int i) {
          const float weight =
              exp2_approx(weights[m][n][i] * factor - top[m][i / 2]) * share[m][i / 2];
          grads[m][n][i] = weight * (grads[m][n][i] - common[m][i / 2]);
        });
        if (!full) forbid<S>(grads, words, key_words[stage], 0.0f);
        add_product<S, S::kSize>(sums, grads, shared.streamed(stage, 0), shared.weights());
      });
  write_rows<S, S::kSize>(Head<Element>(gradients.grad_q, job.batch, job.head), queries.tokens,
                          begin, 0, size, sums, scales);
}

}  // namespace

void backward_queries(const Inputs& inputs, const Gradients& gradients, const Tensor& q_words,
                      const Tensor& k_words, const Tensor& inner, Place place) {
  dispatch(inputs.q, [&](auto element, auto size) {
    using Element = decltype(element);
    constexpr int kMatrices = size <= 64 && !std::is_same_v<Element, float> ? 2 : 1;
    using S = Shape<Element, size, kMatrices, 32>;
    launch_tiles<S>(queries_kernel<S>, inputs.q.size[2], inputs.q.size[1], inputs.q.size[0], 1,
                    Shared<S, 2>::kBytes, place, inputs, gradients, q_words, k_words, inner);
  });
}

}  // namespace motion_lab::region_attention::cuda
