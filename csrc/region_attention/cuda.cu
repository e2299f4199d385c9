// The forward pass on the GPU; see cuda_tiles.h for how it is cut.
#include "region_attention/cuda_products.h"

namespace motion_lab::region_attention::cuda {
namespace {

constexpr int kClassThreads = 128;

// A warp for every kWordTile tokens, of the queries and then of the keys of a batch row.
__global__ void __launch_bounds__(kClassThreads)
    class_kernel(Inputs inputs, Tensor q_words, Tensor k_words) {
  const int64_t q_tiles = q_words.size[1], tiles = q_tiles + k_words.size[1];
  const int64_t warp = (int64_t{blockIdx.x} * kClassThreads + threadIdx.x) / kWarp;
  const int64_t batch = warp / tiles, i = warp % tiles;
  if (batch >= inputs.q.size[0]) return;
  const bool queries = i < q_tiles;
  const Tokens tokens = queries ? Tokens(inputs.q_regions, inputs.q_order, batch)
                                : Tokens(inputs.k_regions, inputs.k_order, batch);
  const int64_t tile = queries ? i : i - q_tiles;
  const int64_t token = tile * kWordTile + threadIdx.x % kWarp;
  // A tile that is not all there is never full: tokens past the last take part in no pair.
  const uint64_t word = token < tokens.length ? tokens.word(token) : 0;
  const auto united = [](uint64_t x) {
    const uint64_t high = __reduce_or_sync(kAllLanes, static_cast<unsigned>(x >> 32));
    return high << 32 | __reduce_or_sync(kAllLanes, static_cast<unsigned>(x));
  };
  const uint64_t any = united(word), all = ~united(~word);
  if (threadIdx.x % kWarp != 0) return;
  const Tensor& to = queries ? q_words : k_words;
  TileWords& found = static_cast<TileWords*>(to.data)[batch * to.size[1] + tile];
  found.any = any;
  found.all = all;
}

// Each row's softmax as far as it has come, in base 2; a lane has its own columns' part of `sum`.
template <class S>
struct Softmax {
  PerRow<S> top, sum;

  __device__ Softmax() {
#pragma unroll
    for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        top[m][half] = -INFINITY;
        sum[m][half] = 0.0f;
      }
  }

  // Turns logits into weights relative to the new maxima, and makes `out` relative to them.
  __device__ void add(Part<S, S::kStream>& logits, Part<S, S::kSize>& out) {
#pragma unroll
    for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float most = top[m][half];
#pragma unroll
        for (int n = 0; n < S::kStream / 8; ++n)
          most = fmaxf(most, fmaxf(logits[m][n][half * 2], logits[m][n][half * 2 + 1]));
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
        most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
        // Rows that have met no key yet: -inf minus -inf would be NaN.
        const float base = most == -INFINITY ? 0.0f : most;
        const float shrink = exp2_approx(top[m][half] - base);
        top[m][half] = most;
        sum[m][half] *= shrink;
#pragma unroll
        for (int n = 0; n < S::kStream / 8; ++n)
#pragma unroll
          for (int c = half * 2; c < half * 2 + 2; ++c) {
            logits[m][n][c] = exp2_approx(logits[m][n][c] - base);
            sum[m][half] += logits[m][n][c];
          }
#pragma unroll
        for (int n = 0; n < S::kSize / 8; ++n) {
          out[m][n][half * 2] *= shrink;
          out[m][n][half * 2 + 1] *= shrink;
        }
      }
  }

  // Adds up over the lanes of each row.
  __device__ void finish() {
#pragma unroll
    for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        sum[m][half] += __shfl_xor_sync(kAllLanes, sum[m][half], 1);
        sum[m][half] += __shfl_xor_sync(kAllLanes, sum[m][half], 2);
      }
  }
};

template <class S>
__global__ void __launch_bounds__(S::kThreads, 2)
    forward_kernel(Inputs inputs, Outputs outputs, Tensor q_words, Tensor k_words) {
  using Element = typename S::Element;
  __shared__ uint64_t words[S::kRows], key_words[S::kStages][S::kStream];
  const Shared<S, 1> shared;
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

  fetch_words<S, S::kRows>(words, queries.tokens, begin);
  const float factor = static_cast<float>(inputs.scale * kLog2E);
  Softmax<S> softmax;
  Part<S, S::kSize> out;
  for_each_element<S, S::kSize>([&](int m, int n, int i) { out[m][n][i] = 0.0f; });
  for_each_tile<S>(
      Walk<S::kStream>(keys, queries.words<S::kRows>(job.tile)),
      [&](int64_t first, int stage) {
        fetch_rows<S, S::kStream>(shared.streamed(stage, 0), k, keys.tokens, first, size);
        fetch_rows<S, S::kStream>(shared.streamed(stage, 1), v, keys.tokens, first, size);
        fetch_words<S, S::kStream>(key_words[stage], keys.tokens, first);
      },
      [&](int stage, bool full) {
        Part<S, S::kStream> logits;
        multiply_rows<S>(logits, shared.mine(0), shared.streamed(stage, 0), size);
        for_each_element<S, S::kStream>([&](int m, int n, int i) { logits[m][n][i] *= factor; });
        if (!full) forbid<S>(logits, words, key_words[stage], -INFINITY);
        softmax.add(logits, out);
        add_product<S, S::kSize>(out, logits, shared.streamed(stage, 1), shared.weights());
      });
  softmax.finish();

  PerRow<S> shares;
#pragma unroll
  for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const float sum = softmax.sum[m][half], top = softmax.top[m][half];
      const float share = sum == 0.0f ? 0.0f : 1.0f / sum;
      shares[m][half] = share;
      const int64_t token = begin + row_of<S>(m, half);
      if (lane_column() != 0 || token >= queries.tokens.length) continue;
      const int64_t at =
          (job.batch * heads + job.head) * queries.tokens.length + queries.tokens.place(token);
      static_cast<float*>(outputs.lse.data)[at] =
          sum == 0.0f ? -INFINITY : top * static_cast<float>(kLn2) + logf(sum);
      // With +inf for the largest logit the backward's weights of a query without keys are zero.
      static_cast<float2*>(outputs.softmax.data)[at] =
          make_float2(sum == 0.0f ? INFINITY : top, share);
    }
  write_rows<S, S::kSize>(Head<Element>(outputs.out, job.batch, job.head), queries.tokens, begin, 0,
                          size, out, shares);
}

}  // namespace

void class_tiles(const Inputs& inputs, const Tensor& q_words, const Tensor& k_words, Place place) {
  const int64_t warps = inputs.q.size[0] * (q_words.size[1] + k_words.size[1]);
  constexpr int64_t kWarps = kClassThreads / kWarp;
  if (warps == 0) return;
  launch(class_kernel, dim3(static_cast<unsigned>((warps + kWarps - 1) / kWarps)),
         dim3(kClassThreads), 0, place, inputs, q_words, k_words);
}

void forward(const Inputs& inputs, const Outputs& outputs, const Tensor& q_words,
             const Tensor& k_words, int device, uintptr_t stream) {
  const Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  class_tiles(inputs, q_words, k_words, place);
  dispatch(inputs.q, [&](auto element, auto size) {
    using Element = decltype(element);
    // Two matrices a warp read what is streamed half as often, where registers are left for them.
    constexpr int kMatrices = size <= 64 && !std::is_same_v<Element, float> ? 2 : 1;
    using S = Shape<Element, size, kMatrices, size <= 128 ? 64 : 32>;
    launch_tiles<S>(forward_kernel<S>, inputs.q.size[2], inputs.q.size[1], inputs.q.size[0], 1,
                    Shared<S, 1>::kBytes, place, inputs, outputs, q_words, k_words);
  });
}

}  // namespace motion_lab::region_attention::cuda
