// Which points add to which cells, as cuda_gather.cu lists them.
#pragma once

#include "grid_sample/cuda_tiles.h"

namespace motion_lab::grid_sample::cuda {

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
  unsigned long long *crowds, *crowded;  // how many cells are crowded, and which

  explicit Lists(const PointLists& lists)
      : starts(lists.starts.as<const int64_t>()),
        arrived(lists.arrived.as<uint32_t>()),
        ordered(lists.ordered.as<uint32_t>()),
        loads(lists.ordered_loads.data),
        crowds(lists.crowds.as<unsigned long long>()),
        crowded(crowds + 1) {}
};

// The first and the last of a pair's bounds, and where its second list starts.
template <int rank, int n>
struct Bounds {
  int64_t begin, second, end;

  __device__ Bounds(const Keys<rank, n>& keys, const Lists& lists, int64_t item,
                    const CellOf<rank>& cell, int pair) {
    int64_t key = 0;
#pragma unroll
    for (int i = rank - 1; i >= 0; --i)
      key = key * keys.size[i] + cell.at[i] + (i > 0 ? pair >> (i - 1) & 1 : 0);
    const int64_t* start = lists.starts + item * keys.count + key;
    begin = start[0];
    second = start[1];
    end = n == 2 ? start[2] : start[1];
  }
};

// A cell's lists: those of its neighbours before it in x and of its own lie one after another, and
// there are so many pairs of them.
template <int rank, int n>
constexpr int kPairs = n == 2 ? power(2, rank - 1) : 1;

// What an entry of a cell's pair of lists adds: its weight, times the gradient at its place.
template <int rank, int n>
struct Contribution {
  float weight;
  int64_t at;  // in an item's grad

  // `second`: the entry is of the second list, the cell's own.
  __device__ Contribution(const Call<rank>& call, const Lists& lists, const Tensor& grad, int pair,
                          int64_t i, bool second) {
    using Load = typename Keys<rank, n>::Load;
    const Load load = static_cast<const Load*>(lists.loads)[i];
    weight = load.of[Keys<rank, n>::kLoad - 1];
    if constexpr (n == 2) {
      // A list of the cell before it holds points whose second tap the cell is.
      weight *= second ? 1 - load.of[0] : load.of[0];
#pragma unroll
      for (int axis = 1; axis < rank; ++axis)
        weight *= pair >> (axis - 1) & 1 ? 1 - load.of[axis] : load.of[axis];
    }
    uint32_t point = lists.ordered[i] / Keys<rank, n>::kEntries;
    at = 0;
    if (call.outputs > 1) {
      const auto points = static_cast<uint32_t>(call.points);
      at = int64_t{point / points} * grad.stride[1];
      point %= points;
    }
    at += int64_t{point} * grad.stride[3];
  }
};

// Sums up the cells that `lists` names as crowded.
void gather_crowds(const Params& params, const Tensor& grad, const Tensor& to,
                   const PointLists& lists, Place place);

}  // namespace motion_lab::grid_sample::cuda
