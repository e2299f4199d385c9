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
//
// scatter is the other way: every point adds to its cells atomically, in float32.
#include "grid_sample/cuda_tiles.h"

namespace motion_lab::grid_sample::cuda {
namespace {

// Keys of an item: along an axis with two taps the first of them may be cell -1.
template <int rank, int n>
struct Keys {
  static constexpr int kEntries = n == 2 ? 1 : power(n, rank);  // a point's
  static constexpr int kBefore = n == 2 ? 1 : 0;
  // What an entry brings along: with two taps its distance past the first cell along each axis and
  // the mask, else its weight.
  static constexpr int kLoad = n == 2 ? 4 : 1;
  struct alignas(4 * kLoad) Load {
    float of[kLoad];
  };

  int64_t size[rank], count = 1;

  explicit Keys(const Call<rank>& call) {
    for (int i = 0; i < rank; ++i) count *= size[i] = call.in_size[i] + kBefore;
  }
  // -1 for a key that does not exist.
  __device__ int64_t key(const float (&first)[rank]) const {
    int64_t key = 0;
#pragma unroll
    for (int i = rank - 1; i >= 0; --i) {
      const float at = first[i] + kBefore;
      if (!(at >= 0 && at < static_cast<float>(size[i]))) return -1;
      key = key * size[i] + static_cast<int64_t>(at);
    }
    return key;
  }
};

// The contract's lists, without what a kernel does not need of tensors.
struct Entries {
  int64_t per_item;
  int64_t* keys;
  int32_t* slots;
  void* loads;
  int32_t* counts;

  Entries(const PointLists& lists, int64_t items)
      : per_item(lists.keys.count() / items),
        keys(lists.keys.as<int64_t>()),
        slots(lists.slots.as<int32_t>()),
        loads(lists.loads.data),
        counts(lists.counts.as<int32_t>()) {}
};

struct Lists {
  const int64_t* starts;
  uint32_t *arrived, *ordered;
  void* loads;

  explicit Lists(const PointLists& lists)
      : starts(lists.starts.as<const int64_t>()),
        arrived(lists.arrived.as<uint32_t>()),
        ordered(lists.ordered.as<uint32_t>()),
        loads(lists.ordered_loads.data) {}
};

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
  for (int64_t other = begin; other < end; ++other) place += lists.arrived[other] < entry;
  lists.ordered[place] = static_cast<uint32_t>(entry);
  static_cast<Load*>(lists.loads)[place] = static_cast<const Load*>(entries.loads)[i];
}

// A cell's lists: those of its neighbours before it in x and of its own lie one after another, and
// there are so many pairs of them.
template <int rank, int n>
constexpr int kPairs = n == 2 ? power(2, rank - 1) : 1;

template <class T, int rank, int n, bool kTogether>
__global__ void __launch_bounds__(kThreads, 6)
    gather_kernel(Call<rank> call, Keys<rank, n> keys, Lists lists, Tensor grad, Tensor to,
                  Cut cut) {
  using Features = Channels<T, kTogether, 8>;
  using Load = typename Keys<rank, n>::Load;
  constexpr int kEntries = Keys<rank, n>::kEntries;
  const Job job(cut, 1, kTogether);
  int64_t* bounds = motion_lab::cuda::dynamic_shared<int64_t>();  // [kPairs][3][tile]

  if (job.thread < job.count) {
    const CellOf<rank> cell(job.first + job.thread, call.in_size);
#pragma unroll
    for (int pair = 0; pair < kPairs<rank, n>; ++pair) {
      int64_t key = 0;
#pragma unroll
      for (int i = rank - 1; i >= 0; --i)
        key = key * keys.size[i] + cell.at[i] + (i > 0 ? pair >> (i - 1) & 1 : 0);
      const int64_t* start = lists.starts + job.item * keys.count + key;
      int64_t* bound = bounds + pair * 3 * cut.tile + threadIdx.x;
      bound[0] = start[0];
      bound[cut.tile] = start[1];
      bound[2 * cut.tile] = n == 2 ? start[2] : start[1];
    }
  }
  __syncthreads();

  const Features sums(to, 1, job.item * to.stride[0]);
  const Features from(grad, 2, job.item * grad.stride[0]);
  for (int own = job.own; own < job.count; own += job.step) {
    const int64_t place = CellOf<rank>(job.first + own, call.in_size).offset(to, 2);
    for (int64_t group = job.group; group < cut.groups; group += job.group_step) {
      float sum[Features::kCount] = {};
#pragma unroll 1
      for (int pair = 0; pair < kPairs<rank, n>; ++pair) {
        const int64_t* bound = bounds + pair * 3 * cut.tile + own;
        for (int64_t i = bound[0]; i < bound[2 * cut.tile]; ++i) {
          const Load load = static_cast<const Load*>(lists.loads)[i];
          float weight = load.of[Keys<rank, n>::kLoad - 1];
          if constexpr (n == 2) {
            // A list of the cell before it holds points whose second tap the cell is.
            weight *= i < bound[cut.tile] ? load.of[0] : 1 - load.of[0];
#pragma unroll
            for (int axis = 1; axis < rank; ++axis)
              weight *= pair >> (axis - 1) & 1 ? 1 - load.of[axis] : load.of[axis];
          }
          uint32_t point = lists.ordered[i] / kEntries;
          int64_t at = 0;
          if (call.outputs > 1) {
            const auto points = static_cast<uint32_t>(call.points);
            at = int64_t{point / points} * grad.stride[1];
            point %= points;
          }
          float value[Features::kCount];
          from.load(at + int64_t{point} * grad.stride[3], group, value);
#pragma unroll
          for (int c = 0; c < Features::kCount; ++c) sum[c] += weight * value[c];
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
      const auto run = [&](auto is_together) {
        int64_t cells = 1;
        for (int64_t size : call.in_size) cells *= size;
        const Cut cut(cells, to.size[1], Channels<T, is_together, 8>::kCount);
        motion_lab::cuda::launch(gather_kernel<T, rank, n, is_together>, cut.blocks(call.items),
                                 dim3(kThreads), kPairs<rank, n> * 3 * cut.tile * sizeof(int64_t),
                                 place, call, Keys<rank, n>(call), Lists(lists), grad, to, cut);
      };
      if (n == 2 && together(to, 1) && together(grad, 2)) {
        if constexpr (n == 2) run(std::true_type{});
      } else {
        run(std::false_type{});
      }
    });
  });
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
