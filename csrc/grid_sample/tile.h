// Tiles: kTile consecutive cells of a tensor as rows of B channels, in the type computed in. Types,
// strides and layouts end here; the kernels see only tiles. Part of cpu.cpp: compiled once per
// instruction set.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "common/simd.h"
#include "common/tensor.h"

namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA {

constexpr int kTile = 64;

template <class A, int W>
struct VectorOf {
  typedef A type __attribute__((vector_size(W * sizeof(A))));
};

// B numbers in as many registers as they need.
template <class A, int B>
struct Lanes {
  static constexpr int kWidth = std::min(B, kLanes<A>);
  static constexpr int kRegisters = B / kWidth;
  using Vector = typename VectorOf<A, kWidth>::type;
  Vector v[kRegisters];

  // Register by register: gcc takes an array of them through memory, in pieces.
  static Lanes load(const A* from) {
    Lanes lanes;
    for (int r = 0; r < kRegisters; ++r)
      std::memcpy(&lanes.v[r], from + r * kWidth, sizeof(Vector));
    return lanes;
  }
  void store(A* to) const {
    for (int r = 0; r < kRegisters; ++r) std::memcpy(to + r * kWidth, &v[r], sizeof(Vector));
  }
  void add_product(A factor, const Lanes& x) {
    for (int r = 0; r < kRegisters; ++r) v[r] += factor * x.v[r];
  }
};

template <class A, int W>
struct Halves {
  typename VectorOf<A, W / 2>::type low, high;
};

template <class A, int W, int... i>
inline Halves<A, W> halves(typename VectorOf<A, W>::type v, std::integer_sequence<int, i...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return {__builtin_shufflevector(v, v, i...), __builtin_shufflevector(v, v, (W / 2 + i)...)};
#else
  Halves<A, W> both;
  std::memcpy(&both, &v, sizeof v);
  return both;
#endif
}
template <class A, int W>
inline Halves<A, W> halves(typename VectorOf<A, W>::type v) {
  return halves<A, W>(v, std::make_integer_sequence<int, W / 2>{});
}

// The sum of a vector's quarters, eighths ...: as many numbers as add up to the same sum, at
// most 4.
template <class A, int W>
inline auto fold(typename VectorOf<A, W>::type v) {
  if constexpr (W <= 4) {
    return v;
  } else {
    const auto both = halves<A, W>(v);
    return fold<A, W / 2>(both.low + both.high);
  }
}

// Where rows of 4 numbers lie several to a vector, four vectors of rows that follow each other in
// memory become four of which vector i has the rows i, i + 4, i + 8 ... Its own way back. Vector i
// is to come from, and to go to, place(i).
template <class A>
struct RowsOfFour {
  static constexpr int kRows = kLanes<A> / 4;
  static constexpr int place(int i) { return i / kRows + i % kRows * (4 / kRows); }
  static void deal(Vec<A>* vectors) {
    for (int i = 0; i < 4; i += kRows) transpose_squares<A, 4, kRows>(vectors + i, 1);
  }
};

// `channels` rows of `count` numbers, `pitch` apart -> `count` rows of B; missing channels are 0.
// As many channels at a time as a vector has lanes: where the pitch is a power of two, all of them
// would be more than a set of the cache has ways.
template <class A, int B>
void channels_to_rows(const A* from, int64_t pitch, int channels, int count, A* to) {
  constexpr int W = kLanes<A>, N = std::min(B, W);
  const int whole = count / W * W;
  for (int c = 0; c < B; c += N)
    for (int p = 0; p < whole; p += W) {
      Vec<A> block[N] = {};
      for (int i = 0; i < N && c + i < channels; ++i) block[i] = load(from + (c + i) * pitch + p);
      if constexpr (N == W) {
        transpose<A>(block);
        for (int i = 0; i < W; ++i) store(to + (p + i) * B + c, block[i]);
      } else {
        transpose_squares<A, 1, 4>(block, 1);
        RowsOfFour<A>::deal(block);
        for (int i = 0; i < 4; ++i) store(to + p * 4 + RowsOfFour<A>::place(i) * W, block[i]);
      }
    }
  for (int p = whole; p < count; ++p)
    for (int c = 0; c < B; ++c) to[p * B + c] = c < channels ? from[c * pitch + p] : A(0);
}

// The way back; the missing channels are not written.
template <class A, int B>
void rows_to_channels(const A* from, int64_t pitch, int channels, int count, A* to) {
  constexpr int W = kLanes<A>, N = std::min(B, W);
  const int whole = count / W * W;
  for (int c = 0; c < channels; c += N)
    for (int p = 0; p < whole; p += W) {
      Vec<A> block[N];
      if constexpr (N == W) {
        for (int i = 0; i < W; ++i) block[i] = load(from + (p + i) * B + c);
        transpose<A>(block);
      } else {
        for (int i = 0; i < 4; ++i) block[i] = load(from + p * 4 + RowsOfFour<A>::place(i) * W);
        RowsOfFour<A>::deal(block);
        transpose_squares<A, 1, 4>(block, 1);
      }
      for (int i = 0; i < N && c + i < channels; ++i) store(to + (c + i) * pitch + p, block[i]);
    }
  for (int p = whole; p < count; ++p)
    for (int c = 0; c < channels; ++c) to[c * pitch + p] = from[p * B + c];
}

// The cells of one image or volume (or field of coordinates, whose components are its channels),
// seen as runs of equally spaced cells as long as its strides allow.
struct Plane {
  char* data = nullptr;
  DType dtype = DType::float32;
  int64_t channel_stride = 0;
  int64_t cell_stride = 0;
  int64_t run = 0;    // cells
  int64_t inner = 1;  // runs per slice
  int64_t run_stride = 0, slice_stride = 0;

  Plane() = default;
  // `space` is the first of the three dimensions of space.
  Plane(const Tensor& tensor, int space, int channel) : dtype(tensor.dtype) {
    data = static_cast<char*>(tensor.data);
    channel_stride = channel < 0 ? 0 : tensor.stride[channel];
    const int64_t *size = tensor.size + space, *stride = tensor.stride + space;
    cell_stride = size[2] > 1 ? stride[2] : size[1] > 1 ? stride[1] : stride[0];
    run = size[2];
    inner = size[1];
    run_stride = stride[1];
    slice_stride = stride[0];
    if (inner == 1 || run_stride == run * cell_stride) {
      run *= inner;
      inner = 1;
      if (size[0] == 1 || slice_stride == run * cell_stride) run *= size[0];
    }
  }

  Plane at(int64_t offset) const {
    Plane moved = *this;
    moved.data += offset * size_of(dtype);
    return moved;
  }

  // Calls body(offset, start, length) for the runs that cover cells [first, first + count): the
  // offset in elements of the piece's first cell, and where the piece begins in the tile.
  template <class Body>
  void for_runs(int64_t first, int count, Body&& body) const {
    if (first + count <= run) return body(first * cell_stride, 0, count);
    int64_t index = first / run, within = first % run;
    for (int done = 0; done < count; ++index, within = 0) {
      const int length = static_cast<int>(std::min<int64_t>(run - within, count - done));
      const int64_t start = index / inner * slice_stride + index % inner * run_stride;
      body(start + within * cell_stride, done, length);
      done += length;
    }
  }
};

// The strides of coordinates, 2 and 3, and of one vector for all cells are constants to the
// compiler, so that it can use shuffles.
template <class From, class To>
void load_strided(const From* from, int64_t stride, int count, To* to) {
  const auto load = [&](auto step) {
    for (int i = 0; i < count; ++i) to[i] = static_cast<To>(from[i * step]);
  };
  using std::integral_constant;
  if (stride == 0) return load(integral_constant<int64_t, 0>{});
  if (stride == 1) return load(integral_constant<int64_t, 1>{});
  if (stride == 2) return load(integral_constant<int64_t, 2>{});
  if (stride == 3) return load(integral_constant<int64_t, 3>{});
  load(stride);
}

template <class From, class To>
void store_strided(const From* from, int count, To* to, int64_t stride) {
  if (stride == 1)
    for (int i = 0; i < count; ++i) to[i] = static_cast<To>(from[i]);
  else
    for (int i = 0; i < count; ++i) to[i * stride] = static_cast<To>(from[i]);
}

// Channels [channel, channel + channels) of a tile -> rows of B.
template <class A, int B>
void load_tile(const Plane& plane, int64_t channel, int channels, int64_t first, int count, A* to) {
  dispatch_floating(plane.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t cs = plane.channel_stride, ps = plane.cell_stride;
    plane.for_runs(first, count, [&](int64_t offset, int start, int length) {
      const T* from = reinterpret_cast<const T*>(plane.data) + offset + channel * cs;
      A* rows = to + start * B;
      if (cs == 1 && channels == B) {
        for (int p = 0; p < length; ++p)
          for (int c = 0; c < B; ++c) rows[p * B + c] = static_cast<A>(from[p * ps + c]);
        return;
      }
      if constexpr (std::is_same_v<T, A>)
        if (ps == 1) return channels_to_rows<A, B>(from, cs, channels, length, rows);
      alignas(64) A converted[B][kTile];
      for (int c = 0; c < channels; ++c) load_strided(from + c * cs, ps, length, converted[c]);
      channels_to_rows<A, B>(converted[0], kTile, channels, length, rows);
    });
  });
}

template <class A, int B>
void store_tile(const A* tile, int64_t channel, int channels, int64_t first, int count,
                const Plane& plane) {
  dispatch_floating(plane.dtype, [&](auto zero) {
    using T = decltype(zero);
    const int64_t cs = plane.channel_stride, ps = plane.cell_stride;
    plane.for_runs(first, count, [&](int64_t offset, int start, int length) {
      T* to = reinterpret_cast<T*>(plane.data) + offset + channel * cs;
      const A* rows = tile + start * B;
      if (cs == 1 && channels == B) {
        for (int p = 0; p < length; ++p)
          for (int c = 0; c < B; ++c) to[p * ps + c] = static_cast<T>(rows[p * B + c]);
        return;
      }
      if constexpr (std::is_same_v<T, A>)
        if (ps == 1) return rows_to_channels<A, B>(rows, cs, channels, length, to);
      alignas(64) A unconverted[B][kTile];
      rows_to_channels<A, B>(rows, kTile, channels, length, unconverted[0]);
      for (int c = 0; c < channels; ++c) store_strided(unconverted[c], length, to + c * cs, ps);
    });
  });
}

// One channel (or component) of a tile.
template <class A>
void load_channel(const Plane& plane, int64_t channel, int64_t first, int count, A* to) {
  dispatch_floating(plane.dtype, [&](auto zero) {
    using T = decltype(zero);
    plane.for_runs(first, count, [&](int64_t offset, int start, int length) {
      const T* from = reinterpret_cast<const T*>(plane.data) + offset;
      load_strided(from + channel * plane.channel_stride, plane.cell_stride, length, to + start);
    });
  });
}

template <class A>
void store_channel(const A* values, int64_t channel, int64_t first, int count, const Plane& plane) {
  dispatch_floating(plane.dtype, [&](auto zero) {
    using T = decltype(zero);
    plane.for_runs(first, count, [&](int64_t offset, int start, int length) {
      T* to = reinterpret_cast<T*>(plane.data) + offset + channel * plane.channel_stride;
      store_strided(values + start, length, to, plane.cell_stride);
    });
  });
}

}  // namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA
