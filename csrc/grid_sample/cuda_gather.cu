// The gradient of the input on the GPU. A cell of the input sums what came out of it: the output's
// gradient at every point with a tap there, times the tap's weight. Which points those are depends
// on no channel, so they are listed first, once for all of them:
//
//   locate  each point makes entries under a key: with two taps along an axis one entry, under the
//           first of its cells, which are 2^rank neighbours; else an entry for each tap. Entries of
//           a key are counted, by integer atomics.
//   (torch sums the counts up: where each key's list starts)
//   order   fills the lists, in which the order of arrival is chance, and brings each in the order
//           of the points: an entry's place is how many of its list come before it.
//   gather  sums for each cell and channel over the lists of its keys, in that order. No float is
//           added to atomically, so the same bits come out at every run.
//   crowds  Lists longer than kCrowd stay as they arrived: to order them costs the square of their
//           length. Their cells are summed up by whole blocks, whatever the order; cuda_crowds.cu.
//
// scatter is the other way: every point adds to its cells atomically, in float32.
#include "grid_sample/cuda_lists.h"

namespace motion_lab::grid_sample::cuda {
namespace {

template <int rank, int n>
__global__ void __launch_bounds__(kThreads)
    locate_kernel(Call<rank> call, Keys<rank, n> keys, Entries to, Cut cut) {
  using Load = typename Keys<rank, n>::Load;
  const Job job(cut, call.outputs, false);
  float x[rank];
  find_position(call, job, cut.tile, x);
  if (job.thread >= job.count) return;

  const float mask = mask_of(call, job);
  const Taps<rank, n> taps(call, x);
  const int64_t first =
      ((job.item * call.outputs + job.output) * call.points + job.first + job.thread) *
      Keys<rank, n>::kEntries;
#pragma unroll
  for (int i = 0; i < Keys<rank, n>::kEntries; ++i) {
    float cell[rank];
    Load load = {};
#pragma unroll
    for (int axis = 0; axis < rank; ++axis) {
      cell[axis] = taps.cell[axis][tap_along<n>(i, axis)];
      if constexpr (n == 2) load.of[axis] = taps.weight[axis][1];
    }
    load.of[Keys<rank, n>::kLoad - 1] = n == 2 ? mask : taps.product(call, i) * mask;
    const int64_t key = keys.key(cell);
    to.keys[first + i] = key < 0 ? key : job.item * keys.count + key;
    static_cast<Load*>(to.loads)[first + i] = load;
    if (key >= 0) to.slots[first + i] = atomicAdd(&to.counts[job.item * keys.count + key + 1], 1);
  }
}

__global__ void __launch_bounds__(kThreads) fill_kernel(Entries entries, Lists lists, Cut cut) {
  const Job job(cut, 1, false);
  const int64_t entry = job.first + job.thread, i = job.item * entries.per_item + entry;
  if (job.thread >= job.count || entries.keys[i] < 0) return;
  lists.arrived[lists.starts[entries.keys[i]] + entries.slots[i]] = static_cast<uint32_t>(entry);
}

// `Load` is as much memory as an entry brings along.
template <class Load>
__global__ void __launch_bounds__(kThreads) order_kernel(Entries entries, Lists lists, Cut cut) {
  const Job job(cut, 1, false);
  const int64_t entry = job.first + job.thread, i = job.item * entries.per_item + entry;
  if (job.thread >= job.count || entries.keys[i] < 0) return;
  const int64_t begin = lists.starts[entries.keys[i]], end = lists.starts[entries.keys[i] + 1];
  int64_t place = begin;
  if (end - begin > kCrowd)
    place += entries.slots[i];
  else
    for (int64_t other = begin; other < end; ++other) place += lists.arrived[other] < entry;
  lists.ordered[place] = static_cast<uint32_t>(entry);
  static_cast<Load*>(lists.loads)[place] = static_cast<const Load*>(entries.loads)[i];
}

template <class T, int rank, int n, bool kTogether>
__global__ void __launch_bounds__(kThreads, 6)
    gather_kernel(Call<rank> call, Keys<rank, n> keys, Lists lists, Tensor grad, Tensor to,
                  Cut cut) {
  using Features = Channels<T, kTogether, 8>;
  constexpr int64_t kLeft = -1;  // in place of a bound: to gather_crowds
  const Job job(cut, 1, kTogether);
  int64_t* bounds = motion_lab::cuda::dynamic_shared<int64_t>();  // [kPairs][3][tile]

  if (job.thread < job.count) {
    const CellOf<rank> cell(job.first + job.thread, call.in_size);
    int64_t* bound = bounds + threadIdx.x;
    int64_t entries = 0;
#pragma unroll
    for (int pair = 0; pair < kPairs<rank, n>; ++pair) {
      const Bounds<rank, n> of(keys, lists, job.item, cell, pair);
      bound[pair * 3 * cut.tile] = of.begin;
      bound[(pair * 3 + 1) * cut.tile] = of.second;
      bound[(pair * 3 + 2) * cut.tile] = of.end;
      entries += of.end - of.begin;
    }
    if (entries > kCrowd) {
      bound[0] = kLeft;
      lists.crowded[atomicAdd(lists.crowds, 1ull)] = job.item * cut.cells + job.first + job.thread;
    }
  }
  __syncthreads();

  const Features sums(to, 1, job.item * to.stride[0]);
  const Features from(grad, 2, job.item * grad.stride[0]);
  for (int own = job.own; own < job.count; own += job.step) {
    if (bounds[own] == kLeft) continue;
    const int64_t place = CellOf<rank>(job.first + own, call.in_size).offset(to, 2);
    for (int64_t group = job.group; group < cut.groups; group += job.group_step) {
      float sum[Features::kCount] = {};
#pragma unroll 1
      for (int pair = 0; pair < kPairs<rank, n>; ++pair) {
        const int64_t* bound = bounds + pair * 3 * cut.tile + own;
        for (int64_t i = bound[0]; i < bound[2 * cut.tile]; ++i) {
          const Contribution<rank, n> one(call, lists, grad, pair, i, i >= bound[cut.tile]);
          float value[Features::kCount];
          from.load(one.at, group, value);
#pragma unroll
          for (int c = 0; c < Features::kCount; ++c) sum[c] += one.weight * value[c];
        }
      }
      sums.store(place, group, sum);
    }
  }
}

// Every point adds to its cells, in whatever order: any two runs may differ in the last bits.
template <int rank, int n>
__global__ void __launch_bounds__(kThreads)
    scatter_kernel(Call<rank> call, Tensor grad, Tensor to, Cut cut, bool together) {
  constexpr int kTaps = power(n, rank);
  const Job job(cut, call.outputs, together);
  const TapTable<kTaps> table(cut.tile);
  float x[rank];
  find_position(call, job, cut.tile, x);
  if (job.thread < job.count) table.fill(call, Taps<rank, n>(call, x), to, mask_of(call, job));
  __syncthreads();

  float* sums = data_of<float>(to) + job.item * to.stride[0];
  for (int point = job.own; point < job.count; point += job.step) {
    const int64_t place = job.item * grad.stride[0] + job.output * grad.stride[1] +
                          CellOf<rank>(job.first + point, call.out_size).offset(grad, 3);
    for (int64_t channel = job.group; channel < cut.groups; channel += job.group_step) {
      const float by = read_float(grad.data, grad.dtype, place + channel * grad.stride[2]);
#pragma unroll
      for (int tap = 0; tap < kTaps; ++tap) {
        const int64_t at = table.at[tap * cut.tile + point];
        if (at >= 0)
          atomicAdd(sums + at + channel * to.stride[1], table.weight[tap * cut.tile + point] * by);
      }
    }
  }
}

}  // namespace

void locate(const Params& params, const PointLists& lists, int device, uintptr_t stream) {
  const Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  with_taps(params, [&](auto of_rank, auto of_n) {
    constexpr int rank = of_rank, n = of_n;
    const Call<rank> call(params);
    const Keys<rank, n> keys(call);
    check(lists.counts.count() == call.items * keys.count + 1 &&
              lists.keys.count() ==
                  call.items * call.outputs * call.points * Keys<rank, n>::kEntries &&
              lists.loads.count() == lists.keys.count() * Keys<rank, n>::kLoad,
          "grid_sample: lists of the wrong size");
    // A thread a point, or four that share a sum of fields.
    const Cut cut(call.points, params.weight ? 4 : 1, 1);
    motion_lab::cuda::launch(locate_kernel<rank, n>, cut.blocks(call.items * call.outputs),
                             dim3(kThreads), 0, place, call, keys, Entries(lists, call.items), cut);
  });
}

void order(const PointLists& lists, int64_t items, int device, uintptr_t stream) {
  const Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  const Entries entries(lists, items);
  const Lists ordered(lists);
  const Cut cut(entries.per_item, 1, 1);
  const bool four = lists.loads.size[1] == 4;
  motion_lab::cuda::launch(fill_kernel, cut.blocks(items), dim3(kThreads), 0, place, entries,
                           ordered, cut);
  motion_lab::cuda::launch(four ? order_kernel<float4> : order_kernel<float>, cut.blocks(items),
                           dim3(kThreads), 0, place, entries, ordered, cut);
}

void gather(const Params& params, const Tensor& grad, const Tensor& to, const PointLists& lists,
            int device, uintptr_t stream) {
  const Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  with_taps(params, [&](auto of_rank, auto of_n) {
    constexpr int rank = of_rank, n = of_n;
    with_type(grad.dtype, [&](auto type) {
      using T = decltype(type);
      const Call<rank> call(params);
      with_layout<n>(together(to, 1) && together(grad, 2), [&](auto is_together) {
        int64_t cells = 1;
        for (int64_t size : call.in_size) cells *= size;
        const Cut cut(cells, to.size[1], Channels<T, is_together, 8>::kCount);
        motion_lab::cuda::launch(gather_kernel<T, rank, n, is_together>, cut.blocks(call.items),
                                 dim3(kThreads), kPairs<rank, n> * 3 * cut.tile * sizeof(int64_t),
                                 place, call, Keys<rank, n>(call), Lists(lists), grad, to, cut);
      });
    });
  });
  gather_crowds(params, grad, to, lists, place);
}

void scatter(const Params& params, const Tensor& grad, const Tensor& to, int device,
             uintptr_t stream) {
  const Place place{device, reinterpret_cast<cudaStream_t>(stream)};
  with_taps(params, [&](auto of_rank, auto of_n) {
    constexpr int rank = of_rank, n = of_n;
    const Call<rank> call(params);
    const Cut cut(call.points, to.size[1], 1);
    motion_lab::cuda::launch(scatter_kernel<rank, n>, cut.blocks(call.items * call.outputs),
                             dim3(kThreads), TapTable<power(n, rank)>::bytes(cut.tile), place, call,
                             grad, to, cut, to.stride[1] == 1);
  });
}

}  // namespace motion_lab::grid_sample::cuda
