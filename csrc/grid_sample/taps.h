// Positions, taps and their derivatives, a tile at a time. Part of cpu.cpp: compiled once per
// instruction set.
#pragma once

#include "common/parallel.h"
#include "grid_sample/contract.h"
#include "grid_sample/math.h"
#include "grid_sample/tile.h"

namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA {

inline int64_t tiles_of(int64_t cells) { return (cells + kTile - 1) / kTile; }

// Weighted fields are summed up, and their gradients written, in longer pieces: of as many streams
// as there are fields, tiles would push each other out of the caches.
constexpr int kPiece = 16 * kTile;

inline int in_tile(int64_t first, int64_t cells) {
  return static_cast<int>(std::min<int64_t>(kTile, cells - first));
}

constexpr uint32_t kOutside = ~0u;  // in place of a cell's number

// How the cells of a channel are numbered where taps read them or add to them.
struct Layout {
  uint32_t first;    // the first cell's number
  uint32_t step[3];  // from a cell to the next along x, y and z
  uint32_t outside;  // the number of a cell that stands for all those outside
};

// The taps of a tile's positions: `n` along each of `rank` axes.
template <class A, int rank, int n>
struct Taps {
  static constexpr int kCount = power(n, rank);
  static constexpr int kPairs = n == 2 ? kCount / 2 : 1;
  static constexpr int along(int tap, int axis) { return tap_along<n>(tap, axis); }

  alignas(64) A axis_weight[rank][n][kTile];
  alignas(64) A axis_slope[rank][n][kTile];  // the weight's derivative by the normalised coordinate
  // Of each tap, by find_taps.
  alignas(64) uint32_t cell[kCount][kTile];
  alignas(64) A weight[kCount][kTile];
  // Of each two taps that differ in x alone, by find_pairs: the cell of the first, and the product
  // of their weights along the other axes.
  alignas(64) uint32_t pair_cell[kPairs][kTile];
  alignas(64) A pair_weight[kPairs][kTile];
  alignas(64) A x_weight[n][kTile];

  Taps(const Layout& layout, const Axis<A>* axes, Padding padding)
      : layout_(layout), axes_(axes), padding_(padding) {}

  [[gnu::noinline]] void place(const A (&x)[rank][kTile]) {
    for (int axis = 0; axis < rank; ++axis) {
      auto* along_axis = padding_ == Padding::zeros    ? &place_along<Padding::zeros>
                         : padding_ == Padding::border ? &place_along<Padding::border>
                                                       : &place_along<Padding::reflection>;
      along_axis(x[axis], axes_[axis], axis == 0 ? layout_.first : 0, layout_.step[axis],
                 axis_weight[axis][0], axis_slope[axis][0], axis_cell_[axis][0]);
    }
  }

  // The weights are multiplied by the factor, if there is one.
  [[gnu::noinline]] void find_taps(const A* factor) {
    weigh_x(factor);
    for (int tap = 0; tap < kCount; ++tap) {
      combine(axis_cell_[0][along(tap, 0)], tap, cell[tap], weight[tap]);
      for (int p = 0; p < kTile; ++p) weight[tap][p] *= x_weight[along(tap, 0)][p];
    }
  }

  // For rows of cells that are each followed by a cell of zeros: there the two cells lie side by
  // side, also if one is outside. If both are, zeros are behind the outside cell too.
  [[gnu::noinline]] void find_pairs(const A* factor) {
    weigh_x(factor);
    alignas(64) uint32_t start[kTile];
    for (int p = 0; p < kTile; ++p) {
      const uint32_t left = axis_cell_[0][0][p], right = axis_cell_[0][1][p];
      start[p] = left == kOutside && right != kOutside ? right - 1 : left;
    }
    for (int pair = 0; pair < kPairs; ++pair)
      combine(start, 2 * pair, pair_cell[pair], pair_weight[pair]);
  }

  // From the derivatives of a sum by its taps' values those by the normalised coordinates.
  [[gnu::noinline]] void differentiate(const A (&by_tap)[kCount][kTile],
                                       A (&by_coordinate)[rank][kTile]) const {
    for (int tap = 0; tap < kCount; ++tap)
      for (int by = 0; by < rank; ++by)
        for (int p = 0; p < kTile; ++p) {
          A product = by_tap[tap][p];
          for (int axis = 0; axis < rank; ++axis) {
            const int i = along(tap, axis);
            product *= axis == by ? axis_slope[axis][i][p] : axis_weight[axis][i][p];
          }
          by_coordinate[by][p] = tap == 0 ? product : by_coordinate[by][p] + product;
        }
  }

  // Adds the sums of the taps' values by their weights.
  void add_values(const A (&by_tap)[kCount][kTile], A (&to)[kTile]) {
    find_taps(nullptr);
    for (int tap = 0; tap < kCount; ++tap)
      for (int p = 0; p < kTile; ++p) to[p] += weight[tap][p] * by_tap[tap][p];
  }

 private:
  // The pointers are to n rows of kTile each; none overlap.
  template <Padding padding>
  [[gnu::noinline]] static void place_along(const A* __restrict x, const Axis<A> axis,
                                            uint32_t first, uint32_t stride, A* __restrict weight,
                                            A* __restrict slopes, uint32_t* __restrict cell) {
    for (int p = 0; p < kTile; ++p) {
      A at[n], weights[n], derivatives[n];
      taps_along(x[p], axis, padding, at, weights, derivatives);
#pragma GCC unroll 4
      for (int i = 0; i < n; ++i) {
        const bool within = at[i] >= 0 && at[i] <= axis.last;
        const auto index = static_cast<uint32_t>(static_cast<int32_t>(within ? at[i] : A(0)));
        cell[i * kTile + p] = within ? first + index * stride : kOutside;
        weight[i * kTile + p] = weights[i];
        slopes[i * kTile + p] = derivatives[i];
      }
    }
  }

  // A position that is not finite has weights that are not: torch lets them through in 2-D.
  void weigh_x(const A* factor) {
    for (int i = 0; i < n; ++i)
      for (int p = 0; p < kTile; ++p) {
        const bool passes = rank == 2 || axis_cell_[0][i][p] != kOutside;
        x_weight[i][p] = passes ? axis_weight[0][i][p] * (factor ? factor[p] : A(1)) : A(0);
      }
  }

  // For cells at x, and along the other axes where the tap is: their numbers and weights but for x.
  void combine(const uint32_t* x, int tap, uint32_t* __restrict to_cell,
               A* __restrict to_weight) const {
    const int j = along(tap, 1), k = rank > 2 ? along(tap, 2) : 0;
    const uint32_t *y = axis_cell_[1][j], *z = axis_cell_[rank - 1][k];
    const A *y_weight = axis_weight[1][j], *z_weight = axis_weight[rank - 1][k];
    const uint32_t outside = layout_.outside;
    for (int p = 0; p < kTile; ++p) {
      const uint32_t at = x[p] + y[p] + (rank > 2 ? z[p] : 0);
      const bool inside = x[p] != kOutside && y[p] != kOutside && (rank == 2 || z[p] != kOutside);
      const A product = y_weight[p] * (rank > 2 ? z_weight[p] : A(1));
      to_cell[p] = inside ? at : outside;
      to_weight[p] = rank == 2 || inside ? product : A(0);
    }
  }

  const Layout layout_;
  const Axis<A>* axes_;
  const Padding padding_;
  alignas(64) uint32_t axis_cell_[rank][n][kTile];
};

// What of a call does not depend on the channels: where its outputs sample, and what the gradients
// by those places are.
template <class A, int rank>
class Geometry {
 public:
  explicit Geometry(const Params& params)
      : params_(params),
        fields_(params.coordinates.size[1]),
        outputs_(params.weight ? 1 : fields_),
        coordinates_(params.coordinates, 2, 5) {
    if (params.weight) weight_ = Plane(params.weight, 2, -1);
    if (params.mask) mask_ = Plane(params.mask, 1, -1);
    for (int i = 0; i < 3; ++i) {
      const int64_t size = params.input.size[4 - i];
      out_size_[i] = params.coordinates.size[4 - i];
      in_size_[i] = size;
      cells_ *= size;
      out_cells_ *= out_size_[i];
      if (i < rank) axes_[i] = Axis<A>(size, out_size_[i], params.align_corners, rank == 3);
    }
    for (const bool packed : {false, true}) {
      const int64_t row = in_size_[0] + packed, slice = row * in_size_[1],
                    all = slice * in_size_[2];
      check(all + 1 < int64_t{kOutside}, "grid_sample: more than 2^32 - 3 cells a channel");
      (packed ? packed_ : as_it_lies_) = {
          packed, {1, uint32_t(row), uint32_t(slice)}, uint32_t(all)};
    }
  }

 protected:
  // The output cells are gone through in tiles, along the depth before the height where that is the
  // shorter way: what the taps of neighbouring points read then comes again while still in cache.
  int64_t start_of_tile(int64_t i) const {
    const int64_t depth = out_size_[2], slice = out_size_[0] * out_size_[1];
    const bool across = slice % kTile == 0 && depth < out_size_[1];
    return across ? i % depth * slice + i / depth * kTile : i * kTile;
  }

  Plane field(const Plane& plane, const Tensor& tensor, int64_t item, int64_t index) const {
    return plane.at(item * tensor.stride[0] + index * tensor.stride[1]);
  }

  // Makes the weighted sums of the fields, if they have weights.
  void sum_fields(int threads) {
    if (!params_.weight) return;
    sums_ = Buffer<A>(params_.input.size[0] * rank * out_cells_);
    for_pieces(threads, [&](int64_t item, int64_t first, int count) {
      alignas(64) A factor[kPiece], value[kPiece];
      for (int axis = 0; axis < rank; ++axis) std::fill_n(sums(item, axis) + first, count, A(0));
      for (int64_t k = 0; k < fields_; ++k) {
        load_channel(field(weight_, params_.weight, item, k), 0, first, count, factor);
        const Plane from = field(coordinates_, params_.coordinates, item, k);
        for (int axis = 0; axis < rank; ++axis) {
          load_channel(from, axis, first, count, value);
          A* sum = sums(item, axis) + first;
          for (int p = 0; p < count; ++p) sum[p] += factor[p] * value[p];
        }
      }
    });
  }

  // Where the cells [first, first + count) of one output sample, in cells of the input.
  [[gnu::noinline]] void positions(int64_t item, int64_t output, int64_t first, int count,
                                   A (&x)[rank][kTile]) const {
    for (int axis = 0; axis < rank; ++axis) {
      std::fill(x[axis] + count, x[axis] + kTile, A(0));
      if (params_.weight)
        std::copy_n(sums(item, axis) + first, count, x[axis]);
      else
        load_channel(field(coordinates_, params_.coordinates, item, output), axis, first, count,
                     x[axis]);
    }
    if (params_.displacement) {
      alignas(64) A cell[rank][kTile];
      out_cells(first, count, cell);
      for (int axis = 0; axis < rank; ++axis)
        for (int p = 0; p < kTile; ++p)
          x[axis][p] = from_displacement(x[axis][p], cell[axis][p], axes_[axis]);
    } else {
      for (int axis = 0; axis < rank; ++axis)
        for (int p = 0; p < kTile; ++p) x[axis][p] = from_grid(x[axis][p], axes_[axis]);
    }
  }

  void out_cells(int64_t first, int count, A (&cell)[rank][kTile]) const {
    int64_t row = first / out_size_[0], column = first % out_size_[0];
    for (int done = 0; done < kTile; ++row, column = 0) {
      // Behind the tile's points, too: any numbers will do.
      const int64_t left = done < count ? out_size_[0] - column : kTile;
      const int length = static_cast<int>(std::min<int64_t>(left, kTile - done));
      const A of_row[] = {static_cast<A>(column), static_cast<A>(row % out_size_[1]),
                          static_cast<A>(row / out_size_[1])};
      for (int axis = 0; axis < rank; ++axis) std::fill_n(cell[axis] + done, length, of_row[axis]);
      for (int p = 0; p < length; ++p) cell[0][done + p] += static_cast<A>(p);
      done += length;
    }
  }

  // `grad`: by the normalised coordinates at which the output samples. Where fields have weights it
  // takes the place of the cells' sums, and spread_gradients() is to follow.
  [[gnu::noinline]] void store_gradients(int64_t item, int64_t output, int64_t first, int count,
                                         const A (&grad)[rank][kTile], const Gradients& to) const {
    for (int axis = 0; axis < rank; ++axis)
      if (params_.weight)
        std::copy_n(grad[axis], count, sums(item, axis) + first);
      else if (to.coordinates)
        store_channel(grad[axis], axis, first, count,
                      field(Plane(to.coordinates, 2, 5), to.coordinates, item, output));
  }

  void spread_gradients(const Gradients& to, int threads) const {
    if (!params_.weight) return;
    for_pieces(threads, [&](int64_t item, int64_t first, int count) {
      alignas(64) A value[kPiece], product[kPiece];
      for (int64_t k = 0; k < fields_; ++k) {
        if (to.weight) {
          std::fill_n(product, count, A(0));
          for (int axis = 0; axis < rank; ++axis) {
            const A* grad = sums(item, axis) + first;
            load_channel(field(coordinates_, params_.coordinates, item, k), axis, first, count,
                         value);
            for (int p = 0; p < count; ++p) product[p] += value[p] * grad[p];
          }
          store_channel(product, 0, first, count,
                        field(Plane(to.weight, 2, -1), to.weight, item, k));
        }
        if (to.coordinates) {
          load_channel(field(weight_, params_.weight, item, k), 0, first, count, value);
          for (int axis = 0; axis < rank; ++axis) {
            const A* grad = sums(item, axis) + first;
            for (int p = 0; p < count; ++p) product[p] = value[p] * grad[p];
            store_channel(product, axis, first, count,
                          field(Plane(to.coordinates, 2, 5), to.coordinates, item, k));
          }
        }
      }
    });
  }

 private:
  // Calls body(item, first, count) for the pieces of all items' outputs.
  template <class Body>
  void for_pieces(int threads, Body&& body) const {
    const int64_t pieces = (out_cells_ + kPiece - 1) / kPiece;
    parallel_ranges(params_.input.size[0] * pieces, threads, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % pieces * kPiece;
        body(i / pieces, first, static_cast<int>(std::min<int64_t>(kPiece, out_cells_ - first)));
      }
    });
  }

  A* sums(int64_t item, int axis) const { return sums_.data() + (item * rank + axis) * out_cells_; }

  Buffer<A> sums_{0};

 protected:
  const Params& params_;
  const int64_t fields_, outputs_;
  int64_t cells_ = 1, out_cells_ = 1;
  int64_t in_size_[3], out_size_[3];  // x, y, z
  // Of the input where it lies, which has no cell for those outside, and where it is packed: a cell
  // of zeros stands before the first and behind each row of cells, and one more at the end.
  Layout as_it_lies_, packed_;
  Axis<A> axes_[3];
  Plane coordinates_, weight_, mask_;
};

}  // namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA
