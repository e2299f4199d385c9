// The gradients of all but the input on the GPU: they follow from the products, summed over the
// channels, of the output's gradient with what each tap reads. Nothing is added to atomically.
#include "grid_sample/cuda_tiles.h"

namespace motion_lab::grid_sample::cuda {
namespace {

// From the sums by taps those by the normalised coordinates and by a factor of the output.
template <int rank, int n>
__device__ inline void differentiate(const Call<rank>& call, const Taps<rank, n>& taps,
                                     const float (&by_tap)[power(n, rank)],
                                     float (&by_coordinate)[rank], float& by_factor) {
#pragma unroll
  for (int tap = 0; tap < power(n, rank); ++tap) {
    by_factor += taps.product(call, tap) * by_tap[tap];
#pragma unroll
    for (int by = 0; by < rank; ++by) {
      float product = by_tap[tap];
#pragma unroll
      for (int axis = 0; axis < rank; ++axis) {
        const int i = tap_along<n>(tap, axis);
        product *= axis == by ? taps.slope[axis][i] : taps.weight[axis][i];
      }
      by_coordinate[by] += product;
    }
  }
}

// Writes, for point threadIdx.x % tile, the gradients of a weighted sum's fields and weights: the
// threads with that point share the fields. `grad` is by the sum.
template <int rank>
__device__ inline void store_fields(const Call<rank>& call, const Job& job, int tile,
                                    const float* grad, const Gradients& to) {
  const Tensor &coordinates = call.params.coordinates, &weight = call.params.weight;
  const int point = threadIdx.x % tile;
  if (point >= job.count) return;
  const CellOf<rank> cell(job.first + point, call.out_size);
  const auto offset = [&](const Tensor& tensor, int64_t field) {
    return job.item * tensor.stride[0] + field * tensor.stride[1] + cell.offset(tensor, 2);
  };
  for (int64_t field = threadIdx.x / tile; field < coordinates.size[1]; field += kThreads / tile) {
    const int64_t from = offset(coordinates, field);
    const float factor = read_float(weight.data, weight.dtype, offset(weight, field));
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < rank; ++i) {
      const float by = grad[i * tile + point];
      if (to.weight.data)
        sum +=
            by * read_float(coordinates.data, coordinates.dtype, from + i * coordinates.stride[5]);
      if (to.coordinates.data)
        write_float(to.coordinates.data, to.coordinates.dtype,
                    offset(to.coordinates, field) + i * to.coordinates.stride[5], factor * by);
    }
    if (to.weight.data) write_float(to.weight.data, to.weight.dtype, offset(to.weight, field), sum);
  }
}

template <class T, int rank, int n, bool kTogether>
__global__ void __launch_bounds__(kThreads, 4)
    positions_kernel(Call<rank> call, Tensor grad, Gradients to, Cut cut) {
  using Features = Channels<T, kTogether>;
  constexpr int kTaps = power(n, rank), kAtOnce = kTaps < 8 ? kTaps : 8;
  const Job job(cut, call.outputs, kTogether);
  const TapTable<kTaps> table(cut.tile);
  // The threads' sums: a row for each tap and thread at a point; then the gradients by position.
  const int parts = kTogether ? 1 : kThreads / cut.tile;
  float* sums = table.weight;

  float x[rank];
  find_position(call, job, cut.tile, x);
  const Taps<rank, n> taps(call, x);
  if (job.thread < job.count)
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap)
      table.at[tap * cut.tile + job.thread] = taps.offset(call, tap, call.params.input);
  __syncthreads();

  const Features from(call.params.input, 1, job.item * call.params.input.stride[0]);
  const Features by(grad, 2, job.item * grad.stride[0] + job.output * grad.stride[1]);
  for (int point = job.own; point < cut.tile; point += job.step) {
    const int64_t place = CellOf<rank>(job.first + point, call.out_size).offset(grad, 3);
#pragma unroll 1
    for (int first = 0; first < kTaps; first += kAtOnce) {
      float sum[kAtOnce] = {};
      for (int64_t group = job.group; point < job.count && group < cut.groups;
           group += job.group_step) {
        float g[Features::kCount];
        by.load(place, group, g);
#pragma unroll
        for (int tap = 0; tap < kAtOnce; ++tap) {
          float value[Features::kCount];
          from.load(table.at[(first + tap) * cut.tile + point], group, value);
#pragma unroll
          for (int i = 0; i < Features::kCount; ++i) sum[tap] += g[i] * value[i];
        }
      }
#pragma unroll
      for (int tap = 0; tap < kAtOnce; ++tap) {
        if (kTogether)
          for (int lanes = cut.lanes / 2; lanes > 0; lanes /= 2)
            sum[tap] += __shfl_xor_sync(kAllLanes, sum[tap], lanes);
        if (!kTogether || job.group == 0)
          sums[((first + tap) * parts + (kTogether ? 0 : job.group)) * cut.tile + point] = sum[tap];
      }
    }
  }
  __syncthreads();

  float by_position[rank] = {}, by_mask = 0.0f;
  if (job.thread < job.count) {
    float by_tap[kTaps];
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      by_tap[tap] = sums[tap * parts * cut.tile + job.thread];
      for (int part = 1; part < parts; ++part)
        by_tap[tap] += sums[(tap * parts + part) * cut.tile + job.thread];
    }
    differentiate(call, taps, by_tap, by_position, by_mask);
    const float mask = mask_of(call, job);
#pragma unroll
    for (int i = 0; i < rank; ++i) by_position[i] *= mask;
  }
  const CellOf<rank> cell(job.first + job.thread, call.out_size);
  const auto offset = [&](const Tensor& tensor) {
    return job.item * tensor.stride[0] + job.output * tensor.stride[1] + cell.offset(tensor, 2);
  };
  if (job.thread < job.count && to.mask.data)
    write_float(to.mask.data, to.mask.dtype, offset(to.mask), by_mask);
  if (call.params.weight.data) {
    __syncthreads();
    if (job.thread < cut.tile)
#pragma unroll
      for (int i = 0; i < rank; ++i) sums[i * cut.tile + job.thread] = by_position[i];
    __syncthreads();
    store_fields(call, job, cut.tile, sums, to);
  } else if (job.thread < job.count && to.coordinates.data) {
#pragma unroll
    for (int i = 0; i < rank; ++i)
      write_float(to.coordinates.data, to.coordinates.dtype,
                  offset(to.coordinates) + i * to.coordinates.stride[5], by_position[i]);
  }
}

}  // namespace

void backward(const Params& params, const Tensor& grad, const Gradients& gradients, int device,
              uintptr_t stream) {
  const Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  with_taps(params, [&](auto of_rank, auto of_n) {
    constexpr int rank = of_rank, n = of_n;
    with_type(params.input.dtype, [&](auto type) {
      using T = decltype(type);
      const Call<rank> call(params);
      with_layout<n>(together(params.input, 1) && together(grad, 2), [&](auto is_together) {
        const Cut cut(call.points, params.input.size[1], Channels<T, is_together>::kCount);
        const size_t taps = power(n, rank);
        const size_t sums =
            std::max(taps * (is_together ? cut.tile : kThreads), size_t{rank} * cut.tile);
        motion_lab::cuda::launch(positions_kernel<T, rank, n, is_together>,
                                 cut.blocks(call.items * call.outputs), dim3(kThreads),
                                 taps * cut.tile * sizeof(int64_t) + sums * sizeof(float), place,
                                 call, grad, gradients, cut);
      });
    });
  });
}

}  // namespace motion_lab::grid_sample::cuda
