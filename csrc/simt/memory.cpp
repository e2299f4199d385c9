#include "simt/memory.h"

#include <algorithm>

#include "simt/report.h"

namespace motion_lab::simt {

namespace {

constexpr uint8_t kSeveralWarps = 0xff;
constexpr int kNobody = -1000;  // a thread of no warp
// An address further than this from everything known is not near anything.
constexpr uintptr_t kFar = 1 << 16;

// Instructions are kept as distances from this function, in half the space.
int32_t pack_code(uintptr_t code) {
  return static_cast<int32_t>(code - reinterpret_cast<uintptr_t>(&pack_code));
}
uintptr_t unpack_code(int32_t code) {
  return reinterpret_cast<uintptr_t>(&pack_code) + static_cast<uintptr_t>(code);
}

// Calls body(address) for the first byte of every element.
template <class Body>
void for_each_element(const Tensor& tensor, Body&& body) {
  if (!tensor || tensor.count() == 0) return;
  int64_t index[kMaxDims] = {};
  auto address = reinterpret_cast<uintptr_t>(tensor.data);
  const auto bytes = static_cast<uintptr_t>(size_of(tensor.dtype));
  for (;;) {
    body(address, index);
    int axis = tensor.dims - 1;
    for (; axis >= 0; --axis) {
      address += static_cast<uintptr_t>(tensor.stride[axis]) * bytes;
      if (++index[axis] < tensor.size[axis]) break;
      address -= static_cast<uintptr_t>(tensor.stride[axis] * tensor.size[axis]) * bytes;
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}

// Where a tensor's elements lie: a few pieces, far from each other, so that large strides cost no
// memory.
std::vector<Bytes> extents_of(const Tensor& tensor) {
  std::vector<Bytes> pieces;
  const auto near = [](const Bytes& a, const Bytes& b) {
    return b.begin <= a.begin + a.size + kFar && a.begin <= b.begin + b.size + kFar;
  };
  const auto join = [](Bytes& a, const Bytes& b) {
    const uintptr_t end = std::max(a.begin + a.size, b.begin + b.size);
    a.begin = std::min(a.begin, b.begin);
    a.size = end - a.begin;
  };
  for_each_element(tensor, [&](uintptr_t address, const int64_t*) {
    const Bytes element{address, static_cast<size_t>(size_of(tensor.dtype))};
    if (!pieces.empty() && near(pieces.back(), element))
      join(pieces.back(), element);
    else
      pieces.push_back(element);
  });
  std::sort(pieces.begin(), pieces.end(),
            [](const Bytes& a, const Bytes& b) { return a.begin < b.begin; });
  std::vector<Bytes> extents;
  for (const Bytes& piece : pieces)
    if (!extents.empty() && near(extents.back(), piece))
      join(extents.back(), piece);
    else
      extents.push_back(piece);
  return extents;
}

// "reads 4 bytes "
std::string described(Access kind, size_t bytes) {
  return (kind == Access::read    ? "reads "
          : kind == Access::write ? "writes "
                                  : "updates ") +
         std::to_string(bytes) + " bytes ";
}

std::string list(const int64_t* numbers, int count) {
  std::string text = "(";
  for (int i = 0; i < count; ++i) text += (i ? ", " : "") + std::to_string(numbers[i]);
  return text + ")";
}

}  // namespace

struct Memory::Cell {
  struct Last {
    Stamp stamp = 0;
    int32_t code = 0;
    uint16_t thread = 0;
  };
  Last write, update, read;  // updates are those by atomics
  Stamp read_by_earlier_block = 0;
  uint32_t read_lanes = 0;  // of read_warp, all that are not ordered before the last read
  uint8_t read_warp = 0;
  bool element = false;  // belongs to a tensor or to shared memory, not to a gap between elements
};

struct Memory::Region {
  enum class Kind { tensor, static_shared, dynamic_shared };

  Kind kind;
  uintptr_t begin;
  std::vector<Cell> cells;

  bool shared() const { return kind != Kind::tensor; }
  bool contains(uintptr_t address) const {
    return address >= begin && address < begin + cells.size();
  }
};

struct Memory::Conflict {
  enum class Kind { none, unwritten, race };

  Kind kind = Kind::none;
  std::string text;
};

Memory::Memory() = default;
Memory::~Memory() = default;

void Memory::expose(const Tensor& tensor) {
  tensors_.push_back(tensor);
  stale_ = true;
}

void Memory::forget_tensors() {
  tensors_.clear();
  stale_ = true;
}

void Memory::begin_launch(const void* dynamic_shared, size_t dynamic_bytes) {
  launch_start_ = last_fence_ = next_stamp();
  const Bytes locals = thread_locals();
  const auto dynamic = reinterpret_cast<uintptr_t>(dynamic_shared);
  const auto has = [&](Region::Kind kind, uintptr_t begin, size_t bytes) {
    return std::any_of(regions_.begin(), regions_.end(), [&](const Region& region) {
      return region.kind == kind && region.begin == begin && region.cells.size() == bytes;
    });
  };
  if (!stale_ && has(Region::Kind::static_shared, locals.begin, locals.size) &&
      has(Region::Kind::dynamic_shared, dynamic, dynamic_bytes))
    return;
  const auto shared = [](Region::Kind kind, uintptr_t begin, size_t bytes) {
    Region region{kind, begin, std::vector<Cell>(bytes)};
    for (Cell& cell : region.cells) cell.element = true;
    return region;
  };
  lay_out({shared(Region::Kind::static_shared, locals.begin, locals.size),
           shared(Region::Kind::dynamic_shared, dynamic, dynamic_bytes)});
}

void Memory::lay_out(const std::vector<Region>& shared) {
  std::vector<Bytes> extents;
  for (const Tensor& tensor : tensors_)
    for (const Bytes& extent : extents_of(tensor)) extents.push_back(extent);
  std::sort(extents.begin(), extents.end(),
            [](const Bytes& a, const Bytes& b) { return a.begin < b.begin; });
  regions_ = shared;
  const size_t first_tensor = regions_.size();
  for (const Bytes& extent : extents) {
    if (regions_.size() == first_tensor ||
        extent.begin >= regions_.back().begin + regions_.back().cells.size())
      regions_.push_back({Region::Kind::tensor, extent.begin, {}});
    Region& region = regions_.back();
    region.cells.resize(std::max(region.cells.size(), extent.begin + extent.size - region.begin));
  }
  std::sort(regions_.begin(), regions_.end(),
            [](const Region& a, const Region& b) { return a.begin < b.begin; });
  for (const Tensor& tensor : tensors_)
    for_each_element(tensor, [&](uintptr_t address, const int64_t*) {
      Region* region = region_of(address);
      for (int64_t byte = 0; byte < size_of(tensor.dtype); ++byte)
        region->cells[address - region->begin + static_cast<uintptr_t>(byte)].element = true;
    });
  stale_ = false;
}

void Memory::begin_block() { block_start_ = last_barrier_ = next_stamp(); }

Memory::Region* Memory::region_of(uintptr_t address) {
  if (last_found_ < regions_.size() && regions_[last_found_].contains(address))
    return &regions_[last_found_];
  auto after =
      std::upper_bound(regions_.begin(), regions_.end(), address,
                       [](uintptr_t value, const Region& region) { return value < region.begin; });
  // Empty regions may begin where another one does.
  while (after != regions_.begin())
    if ((--after)->contains(address)) {
      last_found_ = static_cast<size_t>(after - regions_.begin());
      return &*after;
    }
  return nullptr;
}

bool Memory::ordered(Stamp stamp, int thread, const Actor& actor) const {
  if (stamp < launch_start_) return true;
  if (stamp < block_start_) return stamp < last_fence_;  // another block's
  if (thread == actor.thread || stamp < last_barrier_) return true;
  return thread / kLanes == actor.thread / kLanes && stamp <= actor.known[thread % kLanes];
}

bool Memory::reads_ordered(const Cell& cell, const Actor& actor) const {
  if (cell.read.stamp < block_start_ || cell.read_warp == kSeveralWarps)
    return ordered(cell.read.stamp, kNobody, actor);
  for (uint32_t lanes = cell.read_lanes; lanes; lanes &= lanes - 1)
    if (!ordered(cell.read.stamp, cell.read_warp * kLanes + __builtin_ctz(lanes), actor))
      return false;
  return true;
}

Memory::Conflict Memory::conflict(const Cell& cell, const Region& region, Access kind,
                                  const Actor& actor) const {
  const Stamp start = region.shared() ? block_start_ : launch_start_;
  const auto clash = [&](const char* done, const Cell::Last& last) -> Conflict {
    const std::string who = last.stamp < block_start_
                                ? "another block"
                                : "thread " + std::to_string(last.thread) + " of the block";
    return {Conflict::Kind::race, "which " + who + " " + done + " at " +
                                      source_of(unpack_code(last.code)) +
                                      ", with no barrier between"};
  };
  const auto open = [&](const Cell::Last& last) {
    return last.stamp >= start && !ordered(last.stamp, last.thread, actor);
  };
  if (region.shared() && kind != Access::write && cell.write.stamp < start &&
      cell.update.stamp < start)
    return {Conflict::Kind::unwritten, "which no thread of this block has written"};
  if (open(cell.write)) return clash("wrote", cell.write);
  if (kind != Access::update && open(cell.update)) return clash("updated", cell.update);
  if (kind == Access::read) return {};
  if (!region.shared() && !ordered(cell.read_by_earlier_block, kNobody, actor))
    return {Conflict::Kind::race, "which another block has read, with no fence between"};
  if (cell.read.stamp >= start && !reads_ordered(cell, actor)) return clash("read", cell.read);
  return {};
}

void Memory::note(Cell& cell, const Region& region, Access kind, const Actor& actor) const {
  const Cell::Last now{now_, pack_code(actor.code), static_cast<uint16_t>(actor.thread)};
  if (kind != Access::read) {
    (kind == Access::write ? cell.write : cell.update) = now;
    return;
  }
  const auto warp = static_cast<uint8_t>(actor.thread / kLanes);
  const bool earlier_block = cell.read.stamp < block_start_;
  if (earlier_block && !region.shared()) cell.read_by_earlier_block = cell.read.stamp;
  if (earlier_block || reads_ordered(cell, actor)) {
    // What is ordered after this read is ordered after those before it, too.
    cell.read_lanes = 0;
    cell.read_warp = warp;
    cell.read = now;
  } else if (cell.read_warp != warp) {
    cell.read_warp = kSeveralWarps;
  }
  cell.read_lanes |= 1u << (actor.thread % kLanes);
  cell.read.stamp = now_;
}

std::string Memory::access(const void* pointer, size_t bytes, Access kind, const Actor& actor) {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  Region* region = region_of(address);
  if (!region && kind == Access::read && in_module(address)) return {};
  const auto outside = [&](uintptr_t where) {
    return described(kind, bytes) + "outside the tensors of the call: " + whereabouts(where);
  };
  if (!region) return outside(address);
  for (size_t i = 0; i < bytes; ++i) {
    const size_t at = address + i - region->begin;
    if (at >= region->cells.size() || !region->cells[at].element) return outside(address + i);
    Cell& cell = region->cells[at];
    const Conflict found = conflict(cell, *region, kind, actor);
    if (found.kind != Conflict::Kind::none)
      return (found.kind == Conflict::Kind::race ? "race: " : "") + described(kind, bytes) + "of " +
             name(address, *region) + ", " + found.text;
    note(cell, *region, kind, actor);
  }
  return {};
}

std::string Memory::name(uintptr_t address, const Region& region) const {
  const size_t offset = address - region.begin;
  if (region.kind == Region::Kind::static_shared) return thread_local_name(offset);
  if (region.kind == Region::Kind::dynamic_shared)
    return "dynamic shared memory + " + std::to_string(offset);
  return whereabouts(address);
}

std::string Memory::whereabouts(uintptr_t address) const {
  // How far an address lies outside [begin, begin + bytes), and on which side.
  struct Distance {
    uintptr_t bytes;
    bool after;
  };
  const auto distance = [&](uintptr_t begin, uintptr_t bytes) -> Distance {
    if (address < begin) return {begin - address, false};
    return {address < begin + bytes ? 0 : address - begin - bytes + 1, true};
  };
  Distance least{kFar, false};
  std::string of;
  for (size_t t = 0; t < tensors_.size(); ++t) {
    const Tensor& tensor = tensors_[t];
    for_each_element(tensor, [&](uintptr_t element, const int64_t* index) {
      const Distance away = distance(element, static_cast<uintptr_t>(size_of(tensor.dtype)));
      if (away.bytes >= least.bytes) return;
      least = away;
      of = "element " + list(index, tensor.dims) + " of tensor " + std::to_string(t) +
           " of the call, of sizes " + list(tensor.size, tensor.dims);
    });
  }
  for (const Region& region : regions_) {
    const Distance away = distance(region.begin, region.cells.size());
    if (region.kind != Region::Kind::dynamic_shared || region.cells.empty()) continue;
    if (away.bytes >= least.bytes) continue;
    least = away;
    of = "the dynamic shared memory, of " + std::to_string(region.cells.size()) + " bytes";
  }
  if (of.empty()) return "at address " + hexadecimal(address);
  if (least.bytes == 0) return of;
  return std::to_string(least.after ? least.bytes - 1 : least.bytes) + " bytes " +
         (least.after ? "past the end of " : "before ") + of;
}

}  // namespace motion_lab::simt
