// How the CPU scan cuts its work. Lanes of a vector are channels; a block is one vector of
// channels; a task is some blocks of one sequence that share B and C; time goes in chunks of kChunk
// steps.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <type_traits>
#include <vector>

#include "common/parallel.h"
#include "common/simd.h"
#include "selective_scan/contract.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {

// Chunks that a block is scanned through before the next block's turn. The rows of a block lie on
// as many pages as it has channels and tensors: more than the processor keeps addresses of, if
// every chunk went through all the blocks.
constexpr int64_t kVisit = 8;

// One run of time steps [begin, end) of a batch row.
struct Sequence {
  int64_t index, row, begin, end, first_chunk;

  int64_t chunks() const { return (end - begin + kChunk - 1) / kChunk; }
};

inline std::vector<Sequence> sequences_of(const Inputs& inputs) {
  const int64_t batch = inputs.u.size[0], length = inputs.u.size[2];
  std::vector<Sequence> sequences;
  if (!inputs.cu_seqlens) {
    const int64_t chunks = (length + kChunk - 1) / kChunk;
    for (int64_t b = 0; b < batch; ++b) sequences.push_back({b, b, 0, length, b * chunks});
    return sequences;
  }
  const char* const kUnordered = "selective_scan: cu_seqlens must rise from 0 to length";
  const View<const int32_t, 1> bounds(inputs.cu_seqlens);
  for (int64_t i = 0; i + 1 < bounds.size[0]; ++i) {
    check(bounds(i) <= bounds(i + 1), kUnordered);
    sequences.push_back({i, 0, bounds(i), bounds(i + 1), bounds(i) / kChunk + i});
  }
  check(bounds(0) == 0 && bounds(bounds.size[0] - 1) == length, kUnordered);
  return sequences;
}

// One vector's channels: [channel, channel + count).
struct Block {
  int64_t channel;
  int count;
};

// Blocks first..last of one sequence, whose accumulated dB and dC go to part `part`.
struct Task {
  Sequence sequence;
  int64_t group;  // of B and C, where all the blocks share it
  int64_t first, last;
  int part;
};

// Where `uniform`, all lanes of a block belong to one group of B and C, and both vary in time: then
// B and C are scalars of a step. Else they are vectors, each lane with its own.
struct Plan {
  bool uniform;
  int64_t group_size;
  std::vector<Block> blocks;
  std::vector<Task> tasks;
  int parts;

  Plan(const Inputs& inputs, int lanes, int threads) {
    const int64_t dim = inputs.u.size[1];
    const bool varying_B = inputs.B.dims == 4, varying_C = inputs.C.dims == 4;
    const int64_t groups = varying_B ? inputs.B.size[1] : varying_C ? inputs.C.size[1] : 1;
    group_size = dim / groups;
    uniform = varying_B && varying_C && group_size >= lanes;
    // Blocks never straddle a group unless they hold whole ones, so no two write the same dB.
    const int64_t span = group_size >= lanes ? group_size : dim;
    const int64_t width = group_size >= lanes ? lanes : lanes / group_size * group_size;
    for (int64_t first = 0; first < dim; first += span)
      for (int64_t c = first; c < first + span; c += width)
        blocks.push_back({c, static_cast<int>(std::min(width, first + span - c))});
    const int64_t spans = dim / span, per_span = static_cast<int64_t>(blocks.size()) / spans;

    const std::vector<Sequence> sequences = sequences_of(inputs);
    const int64_t wanted = 2 * std::max(threads, 1);
    const int64_t coarse = std::max<int64_t>(sequences.size() * spans, 1);
    parts = static_cast<int>(std::min(per_span, (wanted + coarse - 1) / coarse));
    for (const Sequence& sequence : sequences)
      for (int64_t s = 0; s < spans; ++s)
        for (int part = 0; part < parts; ++part) {
          const int64_t begin = s * per_span + part * per_span / parts;
          const int64_t end = s * per_span + (part + 1) * per_span / parts;
          tasks.push_back({sequence, blocks[begin].channel / group_size, begin, end, part});
        }
  }
};

// Time steps of a chunk, or of some in a row, in the order of the scan.
struct Steps {
  int64_t first;  // time of the first step in scan order
  int64_t sign;   // -1 when scanning from the end
  int count;

  // Of some chunks from the given one on, or of as many as there are.
  Steps(const Sequence& sequence, int64_t chunk, bool reverse, int64_t chunks = 1) {
    const int64_t done = chunk * kChunk;
    first = reverse ? sequence.end - 1 - done : sequence.begin + done;
    sign = reverse ? -1 : 1;
    count = static_cast<int>(std::min(chunks * kChunk, sequence.end - sequence.begin - done));
  }

  int64_t time(int step) const { return first + sign * step; }
};

// Calls body(F{}) with the type that u is computed in.
template <class Body>
void dispatch_compute(DType dtype, Body&& body) {
  if (dtype == DType::float64)
    body(double{});
  else
    body(float{});
}

// Calls body(T{}) with the type of an input that is computed in F: float64, or one of the others.
// Only the code that touches memory is compiled for every type, the scan itself for each F.
template <class F, class Body>
void dispatch_input(DType dtype, Body&& body) {
  if constexpr (std::is_same_v<F, double>) {
    check(dtype == DType::float64, "selective_scan: float64 wants every input in float64");
    body(double{});
  } else {
    check(dtype != DType::float64, "selective_scan: a float64 input wants u in float64");
    if (dtype == DType::bfloat16)
      body(BFloat16{});
    else if (dtype == DType::float16)
      body(Float16{});
    else
      body(float{});
  }
}

// Where a tile, the channels of a block × the steps of a chunk, lies in a (batch, dim, length)
// tensor.
struct TilePlace {
  int64_t offset, channel_stride, time_stride;

  TilePlace(const Tensor& tensor, int64_t row, Block block, Steps steps)
      : offset(row * tensor.stride[0] + block.channel * tensor.stride[1] +
               steps.first * tensor.stride[2]),
        channel_stride(tensor.stride[1]),
        time_stride(steps.sign * tensor.stride[2]) {}

  // Time is what lies side by side, forwards or backwards.
  bool along_time() const { return time_stride == 1 || time_stride == -1; }
  // Of `count` steps from t on, as they lie in memory along time: the first, and which step the
  // i-th is.
  int64_t lowest(int t, int count) const { return time_stride > 0 ? t : -(t + count - 1); }
  int column(int t, int i, int count) const { return t + (time_stride > 0 ? i : count - 1 - i); }
};

// The cache lines of tiles that come next, fetched a few at every step of each part of the work:
// their rows lie so far apart that the processor does not see them coming, and more at a time than
// it has places for would make it wait.
class Ahead {
 public:
  // `next`, as far as tensors are there and a row of them has neighbouring channels or steps, while
  // `steps` are worked on in `parts`. Chunks may come in the order of the scan or from the last: of
  // a cache line that two of them share, the earlier one has brought it.
  Ahead(Steps next, int64_t row, Block block, bool from_last,
        std::initializer_list<const Tensor*> tensors, int steps, int64_t parts)
      : parts_(std::clamp<int64_t>(parts, 1, kMostParts)), steps_(steps) {
    int count = 0;
    for (const Tensor* tensor : tensors) {
      if (!*tensor) continue;
      const TilePlace at(*tensor, row, block, next);
      const int64_t bytes = size_of(tensor->dtype);
      const char* start = tensor->as<const char>() + at.offset * bytes;
      const int64_t channel_bytes = at.channel_stride * bytes, time_bytes = at.time_stride * bytes;
      if (at.along_time()) {
        const int in_line = static_cast<int>(kLine / bytes);
        for (int t = 0; t < next.count; t += in_line) {
          const char* line =
              start + (from_last ? t : std::min(t + in_line, next.count) - 1) * time_bytes;
          for (int c = 0; c < block.count; ++c) lines_[count++] = line + c * channel_bytes;
        }
      } else if (at.channel_stride == 1) {
        for (int t = 0; t < next.count; ++t) lines_[count++] = start + t * time_bytes;
      }
    }
    const int calls = static_cast<int>(parts_ * steps_);
    at_once_ = std::max((count + calls - 1) / calls, 1);
    std::fill(lines_ + count, lines_ + calls * at_once_, reinterpret_cast<const char*>(lines_));
  }

  // gcc takes a function that only prefetches for one without effect, and drops calls to it.
  __attribute__((always_inline)) void fetch(int step, int64_t part) const {
    if (part >= parts_) return;
    const char* const* line = lines_ + (part * steps_ + step) * at_once_;
    __builtin_prefetch(line[0]);
    for (int i = 1; i < at_once_; ++i) __builtin_prefetch(line[i]);
  }

 private:
  static constexpr int kLine = 64, kMostParts = 4, kMostTensors = 7;
  // The most of a tile: 16 channels of two lines (float32), 8 of four (float64), or a line a step.
  static constexpr int kTileLines = 32;
  const char* lines_[kMostTensors * kTileLines + kMostParts * kChunk];
  int64_t parts_, steps_;
  int at_once_;
};

// A tile as a vector a step; lanes past the block are zero.
template <class F>
void load_tile(const Tensor& source, int64_t row, Block block, Steps steps, Vec<F>* tile) {
  constexpr int lanes = kLanes<F>;
  const TilePlace at(source, row, block, steps);
  dispatch_input<F>(source.dtype, [&](auto type) {
    using T = decltype(type);
    const T* start = source.as<const T>() + at.offset;
    int t = 0;
    if (block.count == lanes && at.channel_stride == 1) {
      for (; t < steps.count; ++t) tile[t] = load_as<F>(start + t * at.time_stride);
    } else if (block.count == lanes && at.along_time()) {
      // Squares, row by row, turned over; backwards in time the last column is the first step.
      for (; t + lanes <= steps.count; t += lanes) {
        Vec<F> square[lanes];
        const T* first = start + at.lowest(t, lanes);
#pragma GCC unroll 16
        for (int c = 0; c < lanes; ++c) square[c] = load_as<F>(first + c * at.channel_stride);
        transpose<F>(square);
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) tile[at.column(t, i, lanes)] = square[i];
      }
    }
    if (t == steps.count) return;
    std::fill(tile + t, tile + steps.count, Vec<F>{});
    F* items = reinterpret_cast<F*>(tile);
    for (int c = 0; c < block.count; ++c)
      for (int i = t; i < steps.count; ++i)
        items[i * lanes + c] = static_cast<F>(start[c * at.channel_stride + i * at.time_stride]);
  });
}

template <class F>
void store_tile(const Tensor& target, int64_t row, Block block, Steps steps, const Vec<F>* tile) {
  constexpr int lanes = kLanes<F>;
  const TilePlace at(target, row, block, steps);
  dispatch_input<F>(target.dtype, [&](auto type) {
    using T = decltype(type);
    T* start = target.as<T>() + at.offset;
    int t = 0;
    if (block.count == lanes && at.channel_stride == 1) {
      for (; t < steps.count; ++t) store_as<F>(start + t * at.time_stride, tile[t]);
    } else if (block.count == lanes && at.along_time()) {
      for (; t + lanes <= steps.count; t += lanes) {
        Vec<F> square[lanes];
#pragma GCC unroll 16
        for (int i = 0; i < lanes; ++i) square[i] = tile[at.column(t, i, lanes)];
        transpose<F>(square);
        T* first = start + at.lowest(t, lanes);
#pragma GCC unroll 16
        for (int c = 0; c < lanes; ++c) store_as<F>(first + c * at.channel_stride, square[c]);
      }
    }
    const F* items = reinterpret_cast<const F*>(tile);
    for (int c = 0; c < block.count; ++c)
      for (int i = t; i < steps.count; ++i)
        start[c * at.channel_stride + i * at.time_stride] = static_cast<T>(items[i * lanes + c]);
  });
}

// One value a channel, such as D; zero past the block, and for an absent tensor.
template <class F>
Vec<F> load_channels(const View<F, 1>& source, Block block) {
  F lanes[kLanes<F>] = {};
  if (source)
    for (int c = 0; c < block.count; ++c) lanes[c] = source(block.channel + c);
  return load(lanes);
}

template <class F>
void store_lanes(F* target, Vec<F> value, Block block) {
  if (block.count == kLanes<F>) return store(target, value);
  F lanes[kLanes<F>];
  store(lanes, value);
  std::copy(lanes, lanes + block.count, target);
}

template <class F>
Vec<F> load_lanes(const F* source, Block block) {
  if (block.count == kLanes<F>) return load(source);
  F lanes[kLanes<F>] = {};
  std::copy(source, source + block.count, lanes);
  return load(lanes);
}

// A (dim, state) matrix's rows of a block, a vector a state.
template <class F>
void load_states(const View<F, 2>& source, Block block, Vec<F>* states) {
  F* lanes = reinterpret_cast<F*>(states);
  for (int64_t n = 0; n < source.size[1]; ++n) {
    states[n] = Vec<F>{};
    for (int c = 0; c < block.count; ++c) lanes[n * kLanes<F> + c] = source(block.channel + c, n);
  }
}

template <class F>
void store_states(const View<F, 2>& target, Block block, const Vec<F>* states) {
  const F* lanes = reinterpret_cast<const F*>(states);
  for (int64_t n = 0; n < target.size[1]; ++n)
    for (int c = 0; c < block.count; ++c) target(block.channel + c, n) = lanes[n * kLanes<F> + c];
}

// A (sequences, dim, state) tensor's matrix of one sequence.
template <class F>
View<F, 2> matrix_of(const View<F, 3>& states, int64_t sequence) {
  View<F, 2> matrix;
  matrix.data = states.data + sequence * states.stride[0];
  for (int i = 0; i < 2; ++i) {
    matrix.size[i] = states.size[i + 1];
    matrix.stride[i] = states.stride[i + 1];
  }
  return matrix;
}

// B or C over the steps of some chunks. Uniform: a scalar a step and state, loaded once for all
// blocks of a task. Else a vector, loaded block by block, one chunk at a time; a constant matrix is
// one step that serves all.
template <class F, bool kUniform>
class Coefficients {
 public:
  using Item = std::conditional_t<kUniform, F, Vec<F>>;

  Coefficients(const Tensor& source, int64_t group_size, int64_t chunks)
      : source_(source),
        constant_(source.dims == 2),
        states_(source.size[constant_ ? 1 : 2]),
        group_size_(group_size),
        items_(states_ * (constant_ ? 1 : chunks * kChunk)) {}

  bool constant() const { return constant_; }
  // From the items of a step to those of the next.
  int64_t step() const { return constant_ ? 0 : states_; }
  const Item* at(int step) { return items_.data() + step * this->step(); }

  // Uniform ones, for the group of a task.
  void load_group(int64_t row, int64_t group, Steps steps) {
    F* items = reinterpret_cast<F*>(items_.data());
    load_lane(row, group, steps, items, 1);
  }

  // Others, for a block.
  void load_block(int64_t row, Block block, Steps steps) {
    F* items = reinterpret_cast<F*>(items_.data());
    if (constant_) return load_states(View<F, 2>(source_), block, items_.data());
    if (block.count < kLanes<F>) std::fill_n(items, states_ * steps.count * kLanes<F>, F(0));
    for (int c = 0; c < block.count; ++c)
      load_lane(row, (block.channel + c) / group_size_, steps, items + c, kLanes<F>);
  }

 private:
  // One group's values to every `distance`th place.
  void load_lane(int64_t row, int64_t group, Steps steps, F* items, int64_t distance) {
    dispatch_input<F>(source_.dtype, [&](auto type) {
      using T = decltype(type);
      const View<T, 4> source(source_);
      const int64_t stride = steps.sign * source.stride[3];
      for (int64_t n = 0; n < states_; ++n) {
        const T* start = &source(row, group, n, steps.first);
        for (int t = 0; t < steps.count; ++t)
          items[(t * states_ + n) * distance] = static_cast<F>(start[t * stride]);
      }
    });
  }

  Tensor source_;
  bool constant_;
  int64_t states_, group_size_;
  Buffer<Item> items_;
};

}  // namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA
