// What is known of every byte that a kernel may touch: whether it belongs to a tensor or to shared
// memory, and who has read and written it. From that follow the faults that a GPU hides: access
// outside, reads of shared memory that nobody wrote, and races.
//
// Time is counted in stamps: a number that rises at every barrier and every __syncwarp. An access
// is ordered before another if a barrier of their block lies between them, or if the other's lane
// has learnt of it through __syncwarp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "common/tensor.h"

namespace motion_lab::simt {

using Stamp = uint32_t;
constexpr int kLanes = 32;

enum class Access { read, write, update };  // updates are those by atomics

// Who makes an access.
struct Actor {
  int thread;  // its number in the block
  const Stamp*
      known;       // by lane of its warp: that lane's accesses up to here are ordered before now
  uintptr_t code;  // the instruction, for reports
};

class Memory {
 public:
  Memory();
  ~Memory();

  // Lets the kernels of the present call touch the elements of a tensor, and no gap between them.
  void expose(const Tensor& tensor);
  void forget_tensors();

  void begin_launch(const void* dynamic_shared, size_t dynamic_bytes);
  void begin_block();
  void barrier() { last_barrier_ = next_stamp(); }
  // Orders all that this launch has done before all that follows, in any block. More than a
  // __threadfence promises, so what relies on one is never reported wrongly.
  void fence() { last_fence_ = next_stamp(); }
  Stamp next_stamp() { return ++now_; }
  Stamp now() const { return now_; }

  // Notes an access; returns what is wrong with it, or an empty text.
  std::string access(const void* address, size_t bytes, Access kind, const Actor& actor);

 private:
  struct Cell;      // a byte
  struct Region;    // bytes in a row
  struct Conflict;  // what is wrong with touching a byte

  void lay_out(const std::vector<Region>& shared);
  Region* region_of(uintptr_t address);
  bool ordered(Stamp stamp, int thread, const Actor& actor) const;
  bool reads_ordered(const Cell& cell, const Actor& actor) const;
  Conflict conflict(const Cell& cell, const Region& region, Access kind, const Actor& actor) const;
  void note(Cell& cell, const Region& region, Access kind, const Actor& actor) const;
  std::string name(uintptr_t address, const Region& region) const;
  std::string whereabouts(uintptr_t address) const;

  std::vector<Tensor> tensors_;
  std::vector<Region> regions_;  // apart from each other, in rising order
  bool stale_ = true;
  size_t last_found_ = 0;
  Stamp now_ = 1, launch_start_ = 1, block_start_ = 1, last_barrier_ = 1, last_fence_ = 1;
};

}  // namespace motion_lab::simt
