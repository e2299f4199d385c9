// The gradient of cells with many entries on the GPU, where all points fall into a few of them: a
// block a cell and channel. The entries are in no order that repeats, so they are added as whole
// numbers, whose sum does not depend on it: in units so small that the largest entry has all its
// digits, and so large that the sum cannot overflow.
#include "grid_sample/cuda_lists.h"

namespace motion_lab::grid_sample::cuda {
namespace {

constexpr int kBlocks = 256;  // which share out what there is
constexpr int kWarps = kThreads / 32;

// Every thread's value put together, in all threads.
template <class Value, class Together>
__device__ Value over_block(Value value, Value (&shared)[kWarps], Together together) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2)
    value = together(value, __shfl_xor_sync(kAllLanes, value, lanes));
  __syncthreads();  // the last call's values have been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = shared[0];
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) value = together(value, shared[warp]);
  return value;
}

// 2^exponent, of a normal number.
__device__ double power_of_two(int exponent) {
  const uint64_t bits = static_cast<uint64_t>(1023 + exponent) << 52;
  double power;
  memcpy(&power, &bits, sizeof power);
  return power;
}

template <class T, int rank, int n>
__global__ void __launch_bounds__(kThreads)
    crowds_kernel(Call<rank> call, Keys<rank, n> keys, Lists lists, Tensor grad, Tensor to,
                  int64_t cells) {
  __shared__ float tops[kWarps];
  __shared__ long long totals[kWarps];
  const int64_t channels = to.size[1];
  const auto jobs = static_cast<int64_t>(*lists.crowds) * channels;
  for (int64_t job = blockIdx.x; job < jobs; job += gridDim.x) {
    const auto crowded = static_cast<int64_t>(lists.crowded[job / channels]);
    const int64_t item = crowded / cells, channel = job % channels;
    const CellOf<rank> cell(crowded % cells, call.in_size);
    const T* from = data_of<T>(grad) + item * grad.stride[0] + channel * grad.stride[2];
    const auto each = [&](auto body) {
#pragma unroll 1
      for (int pair = 0; pair < kPairs<rank, n>; ++pair) {
        const Bounds<rank, n> bounds(keys, lists, item, cell, pair);
        for (int64_t i = bounds.begin + threadIdx.x; i < bounds.end; i += kThreads) {
          const Contribution<rank, n> one(call, lists, grad, pair, i, i >= bounds.second);
          body(one.weight * to_float(from[one.at]));
        }
      }
    };

    float top = 0.0f, sum = 0.0f;
    int64_t entries = 0;
    each([&](float term) {
      const float size = fabsf(term);
      top = size < INFINITY ? fmaxf(top, size) : INFINITY;  // for NaN too
      sum += term;
      ++entries;
    });
    top = over_block(top, tops, [](float a, float b) { return fmaxf(a, b); });
    const auto plus = [](auto a, auto b) { return a + b; };
    if (top > 0 && top < INFINITY) {
      // A term is below 2^(1 + ilogb(top)), and so is the number of them: the sum is below 2^62.
      const auto count = over_block(static_cast<long long>(entries), totals, plus);
      const int digits = 60 - ilogbf(top) - ilogbf(static_cast<float>(count));
      long long total = 0;
      const double units = power_of_two(digits);
      each([&](float term) { total += llrint(term * units); });
      total = over_block(total, totals, plus);
      sum = static_cast<float>(static_cast<double>(total) * power_of_two(-digits));
    } else {
      // Zero, or infinite or NaN whatever the order.
      sum = over_block(sum, tops, plus);
    }
    if (threadIdx.x == 0)
      from_float(sum,
                 data_of<T>(to)[item * to.stride[0] + channel * to.stride[1] + cell.offset(to, 2)]);
  }
}

}  // namespace

void gather_crowds(const Params& params, const Tensor& grad, const Tensor& to,
                   const PointLists& lists, Place place) {
  with_taps(params, [&](auto of_rank, auto of_n) {
    constexpr int rank = of_rank, n = of_n;
    with_type(grad.dtype, [&](auto type) {
      using T = decltype(type);
      const Call<rank> call(params);
      int64_t cells = 1;
      for (int64_t size : call.in_size) cells *= size;
      motion_lab::cuda::launch(crowds_kernel<T, rank, n>, dim3(kBlocks), dim3(kThreads), 0, place,
                               call, Keys<rank, n>(call), Lists(lists), grad, to, cells);
    });
  });
}

}  // namespace motion_lab::grid_sample::cuda
