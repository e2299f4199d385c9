// What the CPU and CUDA kernels share: tokens in their order, and how a tile of pairs is classed by
// its words.
#pragma once

#include <cstdint>

#include "common/host_device.h"
#include "common/tensor.h"

namespace motion_lab::region_attention {

constexpr double kLog2E = 1.4426950408889634074;
constexpr double kLn2 = 0.69314718055994530942;

// A batch row's tokens in the order in which they are worked on.
struct Tokens {
  const int64_t *words, *order;  // order: null where tokens are worked on as they lie
  int64_t word_stride, order_stride, length;

  MOTION_LAB_HOST_DEVICE Tokens(const Tensor& regions, const Tensor& ordered, int64_t batch)
      : words(static_cast<const int64_t*>(regions.data) + batch * regions.stride[0]),
        order(ordered.data ? static_cast<const int64_t*>(ordered.data) + batch * ordered.stride[0]
                           : nullptr),
        word_stride(regions.stride[1]),
        order_stride(ordered.stride[1]),
        length(regions.size[1]) {}

  MOTION_LAB_HOST_DEVICE int64_t place(int64_t i) const {
    return order ? order[i * order_stride] : i;
  }
  MOTION_LAB_HOST_DEVICE uint64_t word(int64_t i) const {
    return static_cast<uint64_t>(words[place(i) * word_stride]);
  }
};

// The union and the intersection of a tile's words.
struct TileWords {
  uint64_t any = 0;
  uint64_t all = ~uint64_t{0};

  MOTION_LAB_HOST_DEVICE void add(uint64_t word) { add({word, word}); }
  MOTION_LAB_HOST_DEVICE void add(const TileWords& other) {
    any |= other.any;
    all &= other.all;
  }
};

enum class TileClass { empty, partial, full };

// Empty: no pair shares a bit. Full: one bit lies in every word of both sides, so every pair shares
// it. Tiles that are full for no single common bit count as partial, which costs time and no error.
MOTION_LAB_HOST_DEVICE TileClass classify(const TileWords& queries, const TileWords& keys) {
  if ((queries.any & keys.any) == 0) return TileClass::empty;
  return (queries.all & keys.all) != 0 ? TileClass::full : TileClass::partial;
}

}  // namespace motion_lab::region_attention
