// Where a coordinate falls along one axis: the maths of the CPU and CUDA kernels. `A` is the type
// computed in. Positions are in cells: 0 is the centre of the first, size - 1 that of the last.
#pragma once

#include <cmath>
#include <cstdint>
#include <type_traits>

#include "common/host_device.h"
#include "grid_sample/contract.h"

namespace motion_lab::grid_sample {

template <class A>
struct Axis {
  A last;   // size - 1
  A half;   // cells per unit of a normalised coordinate
  A shift;  // of the first cell from -1
  A low;    // where reflection mirrors: low and low + span
  A span;
  A step;      // identity grid: cells of the input per cell of the output
  A middle;    // identity grid: of the output
  A nan_edge;  // the position that stands for "not a number" when padding by border or reflection

  Axis() = default;
  Axis(int64_t size, int64_t out_size, bool align_corners, bool volume)
      : last(rounded_down(size - 1)),
        half(static_cast<A>(align_corners ? size - 1 : size) / 2),
        shift(align_corners ? A(0) : A(-0.5)),
        low(align_corners ? A(0) : A(-0.5)),
        span(static_cast<A>(align_corners ? size - 1 : size)),
        step(span / static_cast<A>(align_corners ? (out_size > 1 ? out_size - 1 : 1) : out_size)),
        middle(static_cast<A>(out_size - 1) / 2),
        nan_edge(volume ? last : A(0)) {}

 private:
  // A cell past the last must not pass for it.
  static A rounded_down(int64_t number) {
    const A nearest = static_cast<A>(number);
    return static_cast<int64_t>(nearest) > number ? std::nextafter(nearest, A(0)) : nearest;
  }
};

template <class A>
MOTION_LAB_HOST_DEVICE A from_grid(A coordinate, const Axis<A>& axis) {
  return (coordinate + 1) * axis.half + axis.shift;
}

template <class A>
MOTION_LAB_HOST_DEVICE A from_displacement(A displacement, A out_cell, const Axis<A>& axis) {
  return (out_cell - axis.middle) * axis.step + axis.last / 2 + displacement * axis.half;
}

// Each of the following multiplies `slope` by its derivative, which at and beyond an edge is 0.
template <class A>
MOTION_LAB_HOST_DEVICE A clip(A x, const Axis<A>& axis, A& slope) {
  slope = x > 0 && x < axis.last ? slope : A(0);
  x = x == x ? x : axis.nan_edge;
  x = x > 0 ? x : A(0);
  return x < axis.last ? x : axis.last;
}

template <class A>
MOTION_LAB_HOST_DEVICE A reflect(A x, const Axis<A>& axis, A& slope) {
  const A period = 2 * axis.span;
  const A signed_distance = x - axis.low;
  A distance = std::fabs(signed_distance);
  distance = axis.span > 0 ? distance - std::floor(distance / period) * period : A(0);
  const bool back = distance > axis.span;
  slope = (signed_distance < 0) != back ? -slope : slope;
  return (back ? period - distance : distance) + axis.low;
}

template <class A>
MOTION_LAB_HOST_DEVICE A pad(A x, const Axis<A>& axis, Padding padding, A& slope) {
  if (padding == Padding::zeros) return x;
  if (padding == Padding::reflection) x = reflect(x, axis, slope);
  return clip(x, axis, slope);
}

// Keys' cubic convolution with torch's coefficient: the weights of the cells at -1, 0, 1 and 2 for
// a position t in [0, 1) past cell 0, and their derivatives.
template <class A>
MOTION_LAB_HOST_DEVICE void cubic(A t, A (&weight)[4], A (&derivative)[4]) {
  const A a = A(-0.75);
  const A near[2] = {t, 1 - t}, far[2] = {1 + t, 2 - t};
  for (int side = 0; side < 2; ++side) {
    const A s = near[side], f = far[side], sign = side ? A(-1) : A(1);
    weight[1 + side] = ((a + 2) * s - (a + 3)) * s * s + 1;
    derivative[1 + side] = sign * (3 * (a + 2) * s - 2 * (a + 3)) * s;
    weight[3 * side] = ((a * f - 5 * a) * f + 8 * a) * f - 4 * a;
    derivative[3 * side] = sign * ((3 * a * f - 10 * a) * f + 8 * a);
  }
}

// The cells that a position takes its value from along one axis, their weights, and the weights'
// derivatives by the normalised coordinate: n is 1 (nearest), 2 (linear) or 4 (cubic). Cells are
// whole numbers; those outside [0, axis.last] count as zeros.
template <class A, int n>
MOTION_LAB_HOST_DEVICE void taps_along(A x, const Axis<A>& axis, Padding padding, A (&cell)[n],
                                       A (&weight)[n], A (&slope)[n]) {
  A by_coordinate = axis.half;
  if constexpr (n == 1) {
    cell[0] = std::nearbyint(pad(x, axis, padding, by_coordinate));
    weight[0] = 1;
    slope[0] = 0;
  } else if constexpr (n == 2) {
    x = pad(x, axis, padding, by_coordinate);
    cell[0] = std::floor(x);
    cell[1] = cell[0] + 1;
    weight[0] = 1 - (x - cell[0]);
    weight[1] = x - cell[0];
    slope[0] = -by_coordinate;
    slope[1] = by_coordinate;
  } else {
    const A first = std::floor(x);
    cubic(x - first, weight, slope);
    for (int i = 0; i < 4; ++i) {
      A unused = 0;
      cell[i] = pad(first + (i - 1), axis, padding, unused);
      slope[i] *= by_coordinate;
    }
  }
}

MOTION_LAB_HOST_DEVICE constexpr int power(int base, int exponent) {
  return exponent ? base * power(base, exponent - 1) : 1;
}

// Which of the n taps along an axis the tap of that number is.
template <int n>
MOTION_LAB_HOST_DEVICE constexpr int tap_along(int tap, int axis) {
  return n == 1 ? 0 : tap >> (n / 2 * axis) & (n - 1);  // n is a power of two
}

// Calls body(rank, n) with the constants of a call: n taps along each of `rank` axes.
template <class Body>
void with_taps(const Params& params, Body&& body) {
  using std::integral_constant;
  const integral_constant<int, 1> nearest{};
  const integral_constant<int, 2> two{};
  const integral_constant<int, 3> three{};
  const integral_constant<int, 4> cubic{};
  const bool volume = params.coordinates.size[5] == 3;
  if (volume && params.mode == Mode::bilinear) return body(three, two);
  if (volume) return body(three, nearest);
  if (params.mode == Mode::bilinear) return body(two, two);
  if (params.mode == Mode::nearest) return body(two, nearest);
  body(two, cubic);
}

}  // namespace motion_lab::grid_sample
