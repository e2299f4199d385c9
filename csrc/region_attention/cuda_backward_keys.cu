// The gradients of keys and values on the GPU: a block owns keys and their values, and streams the
// queries and output gradients of all heads that read them.
#include "region_attention/cuda_backward.h"

namespace motion_lab::region_attention::cuda {
namespace {

// What a streamed query's pairs share, as softmax_of() and the inner sum have it.
template <class S>
struct Queries {
  uint64_t words[S::kStream];
  float top[S::kStream], share[S::kStream], inner[S::kStream];
};

template <class S>
__device__ void fetch_queries(Queries<S>& to, const Gradients& gradients, const Tensor& inner,
                              const Tokens& tokens, int64_t batch, int64_t head, int64_t begin) {
  fetch_words<S, S::kStream>(to.words, tokens, begin);
  const int i = threadIdx.x;
  if (i >= S::kStream) return;
  const bool there = begin + i < tokens.length;
  const int64_t query = there ? tokens.place(begin + i) : 0;
  const float* softmax = softmax_of(gradients, batch, head, query);
  const float* common = static_cast<const float*>(inner.data) +
                        (batch * inner.size[1] + head) * inner.size[2] + query;
  // A query that is not there has zeros for its share and so for its weights.
  const int bytes = there ? 4 : 0;
  copy_async<4>(&to.top[i], softmax, bytes);
  copy_async<4>(&to.share[i], softmax + gradients.softmax.stride[3], bytes);
  copy_async<4>(&to.inner[i], common, bytes);
}

// Of wide heads a block sums up but some channels, blockIdx.y says which: a thread has not the
// registers for all.
template <class S, int kColumns>
__global__ void __launch_bounds__(S::kThreads, 2)
    keys_kernel(Inputs inputs, Gradients gradients, Tensor q_words, Tensor k_words, Tensor inner) {
  using Element = typename S::Element;
  __shared__ uint64_t words[S::kRows];
  __shared__ Queries<S> streamed[S::kStages];
  const Shared<S, 2> shared;
  const int size = static_cast<int>(inputs.q.size[3]);
  const int first_channel = static_cast<int>(blockIdx.y) * kColumns;
  const int64_t kv_heads = inputs.k.size[1], kv_group = inputs.q.size[1] / kv_heads;
  const Job job((inputs.k.size[2] + S::kRows - 1) / S::kRows, kv_heads);
  const int64_t begin = int64_t{job.tile} * S::kRows;
  const Side queries(inputs.q_regions, inputs.q_order, q_words, job.batch);
  const Side keys(inputs.k_regions, inputs.k_order, k_words, job.batch);
  fetch_rows<S, S::kRows>(shared.own(0), Head<Element>(inputs.k, job.batch, job.head), keys.tokens,
                          begin, size);
  fetch_rows<S, S::kRows>(shared.own(1), Head<Element>(inputs.v, job.batch, job.head), keys.tokens,
                          begin, size);
  fetch_words<S, S::kRows>(words, keys.tokens, begin);

  const float factor = static_cast<float>(inputs.scale * kLog2E);
  Part<S, kColumns> grad_keys, grad_values;
  for_each_element<S, kColumns>(
      [&](int m, int n, int i) { grad_keys[m][n][i] = grad_values[m][n][i] = 0.0f; });
  for (int64_t head = job.head * kv_group; head < (job.head + 1) * kv_group; ++head) {
    const Head<Element> q(inputs.q, job.batch, head);
    const Head<Element> grad_out(gradients.grad_out, job.batch, head);
    for_each_tile<S>(
        Walk<S::kStream>(queries, keys.words<S::kRows>(job.tile)),
        [&](int64_t first, int stage) {
          fetch_rows<S, S::kStream>(shared.streamed(stage, 0), q, queries.tokens, first, size);
          fetch_rows<S, S::kStream>(shared.streamed(stage, 1), grad_out, queries.tokens, first,
                                    size);
          fetch_queries<S>(streamed[stage], gradients, inner, queries.tokens, job.batch, head,
                           first);
        },
        [&](int stage, bool full) {
          const Queries<S>& others = streamed[stage];
          Part<S, S::kStream> weights, grads;
          multiply_rows<S>(weights, shared.mine(0), shared.streamed(stage, 0), size);
          for_each_element<S, S::kStream>([&](int m, int n, int i) {
            const int query = n * 8 + lane_column() + i % 2;
            weights[m][n][i] =
                exp2_approx(weights[m][n][i] * factor - others.top[query]) * others.share[query];
          });
          if (!full) forbid<S>(weights, words, others.words, 0.0f);
          add_product<S, kColumns>(grad_values, weights, shared.streamed(stage, 1) + first_channel,
                                   shared.weights());
          multiply_rows<S>(grads, shared.mine(1), shared.streamed(stage, 1), size);
          for_each_element<S, S::kStream>([&](int m, int n, int i) {
            const int query = n * 8 + lane_column() + i % 2;
            grads[m][n][i] = weights[m][n][i] * (grads[m][n][i] - others.inner[query]);
          });
          add_product<S, kColumns>(grad_keys, grads, shared.streamed(stage, 0) + first_channel,
                                   shared.weights());
        });
  }

  PerRow<S> ones, scales;
#pragma unroll
  for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      ones[m][half] = 1.0f;
      scales[m][half] = static_cast<float>(inputs.scale);
    }
  write_rows<S, kColumns>(Head<Element>(gradients.grad_k, job.batch, job.head), keys.tokens, begin,
                          first_channel, size, grad_keys, scales);
  write_rows<S, kColumns>(Head<Element>(gradients.grad_v, job.batch, job.head), keys.tokens, begin,
                          first_channel, size, grad_values, ones);
}

}  // namespace

void backward_keys(const Inputs& inputs, const Gradients& gradients, const Tensor& q_words,
                   const Tensor& k_words, const Tensor& inner, Place place) {
  dispatch(inputs.q, [&](auto element, auto size) {
    using Element = decltype(element);
    constexpr int kColumns = size < 128 ? size : 128;
    constexpr int kMatrices = size <= 64 && !std::is_same_v<Element, float> ? 2 : 1;
    using S = Shape<Element, size, kMatrices, 32>;
    launch_tiles<S>(keys_kernel<S, kColumns>, inputs.k.size[2], inputs.k.size[1], inputs.k.size[0],
                    size / kColumns, Shared<S, 2>::kBytes, place, inputs, gradients, q_words,
                    k_words, inner);
  });
}

}  // namespace motion_lab::region_attention::cuda
