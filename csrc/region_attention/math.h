// What the CPU and CUDA kernels share: how a tile of pairs is classed by its words.
#pragma once

#include <cstdint>

#include "common/host_device.h"

namespace motion_lab::region_attention {

// The union and the intersection of a tile's words.
struct TileWords {
  uint64_t any = 0;
  uint64_t all = ~uint64_t{0};

  MOTION_LAB_HOST_DEVICE void add(uint64_t word) {
    any |= word;
    all &= word;
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
