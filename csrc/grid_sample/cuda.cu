// Sampling on the GPU; see cuda_tiles.h for how it is cut.
#include "grid_sample/cuda_tiles.h"

namespace motion_lab::grid_sample::cuda {
namespace {

template <class T, int rank, int n, bool kTogether>
__global__ void __launch_bounds__(kThreads, 5)
    forward_kernel(Call<rank> call, Tensor out, Cut cut) {
  using Features = Channels<T, kTogether>;
  constexpr int kTaps = power(n, rank), kAtOnce = kTaps < 8 ? kTaps : 8;
  const Job job(cut, call.outputs, kTogether);
  const TapTable<kTaps> table(cut.tile);

  float x[rank];
  find_position(call, job, cut.tile, x);
  if (job.thread < job.count)
    table.fill(call, Taps<rank, n>(call, x), call.params.input, mask_of(call, job));
  __syncthreads();

  const Features from(call.params.input, 1, job.item * call.params.input.stride[0]);
  const Features to(out, 2, job.item * out.stride[0] + job.output * out.stride[1]);
  for (int point = job.own; point < job.count; point += job.step) {
    const int64_t place = CellOf<rank>(job.first + point, call.out_size).offset(out, 3);
    for (int64_t group = job.group; group < cut.groups; group += job.group_step) {
      float sum[Features::kCount] = {};
#pragma unroll 1
      for (int first = 0; first < kTaps; first += kAtOnce) {
        float value[kAtOnce][Features::kCount];
#pragma unroll
        for (int tap = 0; tap < kAtOnce; ++tap)
          from.load(table.at[(first + tap) * cut.tile + point], group, value[tap]);
#pragma unroll
        for (int tap = 0; tap < kAtOnce; ++tap)
#pragma unroll
          for (int i = 0; i < Features::kCount; ++i)
            sum[i] += table.weight[(first + tap) * cut.tile + point] * value[tap][i];
      }
      to.store(place, group, sum);
    }
  }
}

}  // namespace

void forward(const Params& params, const Tensor& out, int device, uintptr_t stream) {
  const Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  with_taps(params, [&](auto of_rank, auto of_n) {
    constexpr int rank = of_rank, n = of_n;
    with_type(params.input.dtype, [&](auto type) {
      using T = decltype(type);
      const Call<rank> call(params);
      with_layout<n>(together(params.input, 1) && together(out, 2), [&](auto is_together) {
        const Cut cut(call.points, params.input.size[1], Channels<T, is_together>::kCount);
        motion_lab::cuda::launch(forward_kernel<T, rank, n, is_together>,
                                 cut.blocks(call.items * call.outputs), dim3(kThreads),
                                 TapTable<power(n, rank)>::bytes(cut.tile), place, call, out, cut);
      });
    });
  });
}

}  // namespace motion_lab::grid_sample::cuda
