// How the CPU convolution cuts its work. A tile is some steps of some channels, copied into a
// buffer of F that the arithmetic runs over. Where channels lie side by side in x, its rows are
// steps and lanes are channels; else it has one channel, and lanes are steps. Either way the value
// k steps on lies k times the tile's channels further.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "causal_conv1d/contract.h"
#include "common/parallel.h"
#include "common/simd.h"

namespace motion_lab::causal_conv1d::cpu::MOTION_LAB_ISA {

// Values of a tile: few enough to stay in the first cache.
constexpr int64_t kTile = 2048;
// Channels of a tile at most: rows long enough to be read ahead of by the processor.
constexpr int64_t kMostChannels = 256;

struct Cut {
  bool along_channels;
  int64_t batch, dim, length, width;
  int64_t channels, steps;  // of a tile; so many channels are the pitch of its buffer
  int64_t units;            // tiles beside each other: all the channels
  int64_t parts;            // of the batch, so that there is work for all threads

  Cut(const Inputs& inputs, int lanes, int threads)
      : along_channels(inputs.x.size[1] > 1 && (inputs.x.stride[2] != 1 || inputs.x.size[2] == 1)),
        batch(inputs.x.size[0]),
        dim(inputs.x.size[1]),
        length(inputs.x.size[2]),
        width(inputs.weight.size[1]) {
    const int64_t wanted = 2 * std::max(threads, 1);
    channels = 1;
    if (along_channels) {
      const int64_t vectors = (dim + lanes - 1) / lanes;
      const int64_t most = std::clamp<int64_t>(vectors * batch / wanted, 1, kMostChannels / lanes);
      const int64_t tiles = (vectors + most - 1) / most;
      channels = (vectors + tiles - 1) / tiles * lanes;
    }
    steps = kTile / channels;
    units = (dim + channels - 1) / channels;
    parts = std::min(batch, (wanted + units - 1) / units);
  }

  // Steps and those that x is continued by.
  int64_t rows() const { return length + width - 1; }
  // Elements of a tile and of what overlaps with the next; a vector at the end may go beyond.
  int64_t buffer(int lanes) const { return (steps + width - 1) * channels + lanes; }
};

// The steps [begin, begin + count) of the channels [channel, channel + channels) of a batch row.
struct Place {
  int64_t row, channel, channels, begin, count;
};

// Copies between a (batch, dim, length) tensor of T and a buffer, line by line.
template <class F, class T, bool kStore>
void copy(const Tensor& tensor, const Cut& cut, Place place, F* buffer) {
  constexpr int lanes = kLanes<F>;
  const int64_t across = tensor.stride[1], along = tensor.stride[2];
  const int64_t lines = cut.along_channels ? place.count : 1;
  const int64_t count = cut.along_channels ? place.channels : place.count;
  const int64_t stride = cut.along_channels ? across : along;
  T* line =
      tensor.as<T>() + place.row * tensor.stride[0] + place.channel * across + place.begin * along;
  for (int64_t i = 0; i < lines; ++i, line += along, buffer += cut.channels) {
    int64_t j = 0;
    for (; stride == 1 && j + lanes <= count; j += lanes) {
      if constexpr (kStore)
        store_as<F>(line + j, load(buffer + j));
      else
        store(buffer + j, load_as<F>(line + j));
    }
    for (; j < count; ++j) {
      if constexpr (kStore)
        line[j * stride] = static_cast<T>(buffer[j]);
      else
        buffer[j] = static_cast<F>(line[j * stride]);
    }
  }
}

// A signal of `x`'s shape and what it is continued by, as one: rows of steps, those of `edge` first
// or, in reverse, last. An absent tensor's are zeros when read, and nowhere when written.
template <class F, class T>
struct Continued {
  const Tensor &x, &edge;
  const Cut& cut;
  bool reverse;

  void read(Place rows, F* buffer) const {
    const int64_t lead = reverse ? 0 : cut.width - 1;
    if (rows.begin < lead || rows.begin + rows.count > lead + cut.length)
      std::fill_n(buffer, rows.count * cut.channels, F(0));
    transfer<false>(rows, buffer);
    // The last vector of a line along time.
    if (!cut.along_channels) std::fill_n(buffer + rows.count, kLanes<F>, F(0));
  }
  void write(Place rows, F* buffer) const { transfer<true>(rows, buffer); }

 private:
  template <bool kStore>
  void transfer(Place rows, F* buffer) const {
    const int64_t edges = cut.width - 1;
    part<kStore>(x, reverse ? 0 : edges, cut.length, rows, buffer);
    part<kStore>(edge, reverse ? cut.length : 0, edges, rows, buffer);
  }
  // What of the rows belongs to a tensor, whose own begin at the given one.
  template <bool kStore>
  void part(const Tensor& tensor, int64_t first, int64_t count, Place rows, F* buffer) const {
    const int64_t begin = std::max(rows.begin, first);
    const int64_t end = std::min(rows.begin + rows.count, first + count);
    if (!tensor || begin >= end) return;
    const Place place{rows.row, rows.channel, rows.channels, begin - first, end - begin};
    copy<F, T, kStore>(tensor, cut, place, buffer + (begin - rows.begin) * cut.channels);
  }
};

// Fetches the next tile of some tensors into the cache while this one is computed: its rows lie so
// far apart that the processor does not see them coming.
template <class F, class T>
class Ahead {
 public:
  // The tile begins at `place`. Tensors whose lanes do not lie side by side are left out.
  Ahead(const Cut& cut, Place place, std::initializer_list<const Tensor*> tensors) {
    for (const Tensor* tensor : tensors) {
      const int64_t *stride = tensor->stride, along = stride[2];
      if (stride[cut.along_channels ? 1 : 2] != 1) continue;
      starts_[count_] = tensor->as<const T>() + place.row * stride[0] + place.channel * stride[1] +
                        place.begin * along;
      strides_[count_++] = cut.along_channels ? along : kLanes<F>;
    }
  }

  // gcc takes a function that only prefetches for one without effect, and drops calls to it.
  __attribute__((always_inline)) void fetch(int64_t column, int64_t vector) const {
    for (int i = 0; i < count_; ++i)
      __builtin_prefetch(starts_[i] + column * kLanes<F> + vector * strides_[i]);
  }

 private:
  const T* starts_[3];
  int64_t strides_[3];
  int count_ = 0;
};

// The vectors of a tile whose taps are the same: of a vector of channels, or of one channel all.
template <class F>
struct Column {
  int64_t index;
  int64_t first, stride, count;  // in a buffer
  int64_t pitch, width;
  const Vec<F>* taps;  // in the order of time and, last, the bias
};

// The taps of a tile's channels.
template <class F>
class Taps {
 public:
  Taps(const Inputs& inputs, const Cut& cut)
      : weight_(inputs.weight),
        bias_(inputs.bias),
        cut_(cut),
        reverse_(inputs.reverse),
        items_(columns() * each()) {}

  int64_t columns() const { return cut_.along_channels ? cut_.channels / kLanes<F> : 1; }
  int64_t each() const { return cut_.width + 1; }

  void load(int64_t channel, int64_t channels) {
    F* items = reinterpret_cast<F*>(items_.data());
    for (int64_t i = 0; i < columns() * kLanes<F>; ++i) {
      const int64_t c = cut_.along_channels ? i : 0;
      for (int64_t k = 0; k < each(); ++k)
        items[(i / kLanes<F> * each() + k) * kLanes<F> + i % kLanes<F>] =
            c < channels ? value(channel + c, k) : F(0);
    }
  }

  Column<F> column(int64_t index, int64_t steps) {
    const Vec<F>* taps = items_.data() + index * each();
    if (cut_.along_channels)
      return {index, index * kLanes<F>, cut_.channels, steps, cut_.channels, cut_.width, taps};
    const int64_t vectors = (steps + kLanes<F> - 1) / kLanes<F>;
    return {0, 0, kLanes<F>, vectors, cut_.channels, cut_.width, taps};
  }

 private:
  F value(int64_t channel, int64_t k) const {
    if (k == cut_.width) return bias_ ? bias_(channel) : F(0);
    return weight_(channel, reverse_ ? cut_.width - 1 - k : k);
  }

  View<F, 2> weight_;
  View<F, 1> bias_;
  const Cut& cut_;
  bool reverse_;
  Buffer<Vec<F>> items_;
};

// Calls body(std::integral_constant<int, N>(), i) for vectors i to i + N of a column.
template <class Body>
void for_vectors(int64_t count, Body&& body) {
  constexpr int kMost = 4;
  int64_t i = 0;
  for (; i + kMost <= count; i += kMost) body(std::integral_constant<int, kMost>(), i);
  for (; i < count; ++i) body(std::integral_constant<int, 1>(), i);
}

// Adds Σ_k tap_k p[k * step] to N vectors of a column, the first of which lies at p.
template <int N, class F>
void correlate(const Column<F>& column, const F* p, int64_t step, Vec<F>* sums) {
  for (int64_t k = 0; k < column.width; ++k, p += step) {
    const Vec<F> tap = column.taps[k];
#pragma GCC unroll 4
    for (int i = 0; i < N; ++i) sums[i] += tap * load(p + i * column.stride);
  }
}

}  // namespace motion_lab::causal_conv1d::cpu::MOTION_LAB_ISA
