// What is done with the rows of B channels that the taps of a tile's points read. Part of cpu.cpp:
// compiled once per instruction set.
#pragma once

#include "grid_sample/tile.h"

namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA {

// `row`, where one is taken, is a function from a cell to its row.
template <class A, int B, class Taps>
struct Rows {
  using Row = Lanes<A, B>;
  static constexpr int kFolded = std::min(4, Row::kWidth);
  using Folded = decltype(fold<A, Row::kWidth>(Row{}.v[0]));

  template <class RowOf>
  static void gather(RowOf row, const Taps& taps, int count, A* tile) {
    for (int p = 0; p < count; ++p) {
      Row sum{};
      for (int tap = 0; tap < taps.kCount; ++tap)
        sum.add_product(taps.weight[tap][p], Row::load(row(taps.cell[tap][p])));
      sum.store(tile + p * B);
    }
  }

  static void scatter(const A* tile, const Taps& taps, int count, A* data) {
    for (int p = 0; p < count; ++p) {
      const Row grad = Row::load(tile + p * B);
      for (int tap = 0; tap < taps.kCount; ++tap) {
        A* to = data + int64_t{taps.cell[tap][p]} * B;
        Row sum = Row::load(to);
        sum.add_product(taps.weight[tap][p], grad);
        sum.store(to);
      }
    }
  }

  static Folded product(const Row& a, const Row& b) {
    auto sum = a.v[0] * b.v[0];
    for (int r = 1; r < Row::kRegisters; ++r) sum += a.v[r] * b.v[r];
    return fold<A, Row::kWidth>(sum);
  }

  template <class RowOf>
  static void add_products(RowOf row, const A* tile, const Taps& taps, int count,
                           A (&partial)[Taps::kCount][kTile * kFolded]) {
    for (int p = 0; p < count; ++p) {
      const Row at = Row::load(tile + p * B);
      for (int tap = 0; tap < taps.kCount; ++tap) {
        Folded sum;
        std::memcpy(&sum, partial[tap] + p * kFolded, sizeof sum);
        sum += product(at, Row::load(row(taps.cell[tap][p])));
        std::memcpy(partial[tap] + p * kFolded, &sum, sizeof sum);
      }
    }
  }
};

}  // namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA
