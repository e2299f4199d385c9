// Positions, taps and their derivatives, a tile at a time. Part of cpu.cpp: compiled once per
// instruction set.
#pragma once

#include "grid_sample/contract.h"
#include "grid_sample/math.h"
#include "grid_sample/tile.h"

namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA {

inline int64_t tiles_of(int64_t cells) { return (cells + kTile - 1) / kTile; }

inline int in_tile(int64_t first, int64_t cells) {
  return static_cast<int>(std::min<int64_t>(kTile, cells - first));
}

constexpr uint32_t kOutside = ~0u;  // in place of a cell's number

// The taps of a tile's positions: `n` along each of `rank` axes.
template <class A, int rank, int n>
struct Taps {
  static constexpr int kCount = power(n, rank);
  static constexpr int along(int tap, int axis) { return tap_along<n>(tap, axis); }

  alignas(64) uint32_t cell[kCount][kTile];  // counted through the input; outside: their number
  alignas(64) A weight[kCount][kTile];
  alignas(64) A axis_weight[rank][n][kTile];
  alignas(64) A axis_slope[rank][n][kTile];  // the weight's derivative by the normalised coordinate

  // `sizes` of the input: x, y, z.
  [[gnu::noinline]] void place(const A (&x)[rank][kTile], const Axis<A>* axes, Padding padding,
                               const int64_t* sizes) {
    alignas(64) uint32_t axis_cell[rank][n][kTile];
    uint32_t stride = 1;
    for (int axis = 0; axis < rank; ++axis) {
      auto* along_axis = padding == Padding::zeros    ? &place_along<Padding::zeros>
                         : padding == Padding::border ? &place_along<Padding::border>
                                                      : &place_along<Padding::reflection>;
      along_axis(x[axis], axes[axis], stride, axis_weight[axis][0], axis_slope[axis][0],
                 axis_cell[axis][0]);
      stride *= static_cast<uint32_t>(sizes[axis]);
    }
    for (int tap = 0; tap < kCount; ++tap) {
      const int i = along(tap, 0), j = along(tap, 1), k = rank > 2 ? along(tap, 2) : 0;
      combine(axis_cell[0][i], axis_cell[1][j], axis_cell[rank - 1][k], axis_weight[0][i],
              axis_weight[1][j], axis_weight[rank - 1][k], stride, cell[tap], weight[tap]);
    }
  }

  void multiply(const A (&factor)[kTile]) {
    for (auto& of_tap : weight)
      for (int p = 0; p < kTile; ++p) of_tap[p] *= factor[p];
  }

  // From the derivatives of a sum by its taps' values those by the normalised coordinates and,
  // added to `by_factor`, by a factor of the sum.
  [[gnu::noinline]] void differentiate(const A (&by_tap)[kCount][kTile],
                                       A (&by_coordinate)[rank][kTile],
                                       A (&by_factor)[kTile]) const {
    for (int tap = 0; tap < kCount; ++tap) {
      for (int p = 0; p < kTile; ++p) by_factor[p] += weight[tap][p] * by_tap[tap][p];
      for (int by = 0; by < rank; ++by)
        for (int p = 0; p < kTile; ++p) {
          A product = by_tap[tap][p];
          for (int axis = 0; axis < rank; ++axis) {
            const int i = along(tap, axis);
            product *= axis == by ? axis_slope[axis][i][p] : axis_weight[axis][i][p];
          }
          by_coordinate[by][p] += product;
        }
    }
  }

 private:
  // The pointers are to n rows of kTile each; none overlap.
  template <Padding padding>
  [[gnu::noinline]] static void place_along(const A* __restrict x, const Axis<A> axis,
                                            uint32_t stride, A* __restrict weight,
                                            A* __restrict slopes, uint32_t* __restrict cell) {
    for (int p = 0; p < kTile; ++p) {
      A at[n], weights[n], derivatives[n];
      taps_along(x[p], axis, padding, at, weights, derivatives);
#pragma GCC unroll 4
      for (int i = 0; i < n; ++i) {
        const bool within = at[i] >= 0 && at[i] <= axis.last;
        const auto index = static_cast<uint32_t>(static_cast<int32_t>(within ? at[i] : A(0)));
        cell[i * kTile + p] = within ? index * stride : kOutside;
        weight[i * kTile + p] = weights[i];
        slopes[i * kTile + p] = derivatives[i];
      }
    }
  }

  static void combine(const uint32_t* __restrict x, const uint32_t* __restrict y,
                      const uint32_t* __restrict z, const A* __restrict x_weight,
                      const A* __restrict y_weight, const A* __restrict z_weight, uint32_t cells,
                      uint32_t* __restrict cell, A* __restrict weight) {
    for (int p = 0; p < kTile; ++p) {
      const uint32_t at = x[p] + y[p] + (rank > 2 ? z[p] : 0);
      const bool inside = x[p] != kOutside && y[p] != kOutside && (rank == 2 || z[p] != kOutside);
      const A product = x_weight[p] * y_weight[p] * (rank > 2 ? z_weight[p] : A(1));
      cell[p] = inside ? at : cells;
      // A position that is not finite has weights that are not: torch lets them through in 2-D.
      weight[p] = rank == 2 || inside ? product : A(0);
    }
  }
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
    check(cells_ < int64_t{kOutside}, "grid_sample: more than 2^32 - 2 cells a channel");
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

  // Where the cells [first, first + count) of one output sample, in cells of the input.
  [[gnu::noinline]] void positions(int64_t item, int64_t output, int64_t first, int count,
                                   A (&x)[rank][kTile]) const {
    for (auto& along : x) std::fill_n(along, kTile, A(0));
    if (params_.weight) {
      alignas(64) A factor[kTile], value[kTile];
      for (int64_t k = 0; k < fields_; ++k) {
        load_channel(field(weight_, params_.weight, item, k), 0, first, count, factor);
        const Plane from = field(coordinates_, params_.coordinates, item, k);
        for (int axis = 0; axis < rank; ++axis) {
          load_channel(from, axis, first, count, value);
          for (int p = 0; p < count; ++p) x[axis][p] += factor[p] * value[p];
        }
      }
    } else {
      const Plane from = field(coordinates_, params_.coordinates, item, output);
      for (int axis = 0; axis < rank; ++axis) load_channel(from, axis, first, count, x[axis]);
    }
    if (params_.displacement) {
      alignas(64) A cell[3][kTile] = {};
      out_cells(first, count, cell);
      for (int axis = 0; axis < rank; ++axis)
        for (int p = 0; p < kTile; ++p)
          x[axis][p] = from_displacement(x[axis][p], cell[axis][p], axes_[axis]);
    } else {
      for (int axis = 0; axis < rank; ++axis)
        for (int p = 0; p < kTile; ++p) x[axis][p] = from_grid(x[axis][p], axes_[axis]);
    }
  }

  void out_cells(int64_t first, int count, A (&cell)[3][kTile]) const {
    int64_t row = first / out_size_[0], column = first % out_size_[0];
    for (int done = 0; done < count; ++row, column = 0) {
      const int length = static_cast<int>(std::min<int64_t>(out_size_[0] - column, count - done));
      const A y = static_cast<A>(row % out_size_[1]), z = static_cast<A>(row / out_size_[1]);
      for (int p = 0; p < length; ++p) {
        cell[0][done + p] = static_cast<A>(column + p);
        cell[1][done + p] = y;
        cell[2][done + p] = z;
      }
      done += length;
    }
  }

  // `grad`: by the normalised coordinates at which the output samples.
  [[gnu::noinline]] void store_gradients(int64_t item, int64_t output, int64_t first, int count,
                                         const A (&grad)[rank][kTile], const Gradients& to) const {
    if (!params_.weight) {
      if (to.coordinates)
        for (int axis = 0; axis < rank; ++axis)
          store_channel(grad[axis], axis, first, count,
                        field(Plane(to.coordinates, 2, 5), to.coordinates, item, output));
      return;
    }
    for (int64_t k = 0; k < fields_; ++k) {
      alignas(64) A value[kTile], product[kTile], sum[kTile] = {};
      if (to.weight) {
        for (int axis = 0; axis < rank; ++axis) {
          load_channel(field(coordinates_, params_.coordinates, item, k), axis, first, count,
                       value);
          for (int p = 0; p < count; ++p) sum[p] += value[p] * grad[axis][p];
        }
        store_channel(sum, 0, first, count, field(Plane(to.weight, 2, -1), to.weight, item, k));
      }
      if (to.coordinates) {
        load_channel(field(weight_, params_.weight, item, k), 0, first, count, value);
        for (int axis = 0; axis < rank; ++axis) {
          for (int p = 0; p < count; ++p) product[p] = value[p] * grad[axis][p];
          store_channel(product, axis, first, count,
                        field(Plane(to.coordinates, 2, 5), to.coordinates, item, k));
        }
      }
    }
  }

  const Params& params_;
  const int64_t fields_, outputs_;
  int64_t cells_ = 1, out_cells_ = 1;
  int64_t in_size_[3], out_size_[3];  // x, y, z
  Axis<A> axes_[3];
  Plane coordinates_, weight_, mask_;
};

}  // namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA
