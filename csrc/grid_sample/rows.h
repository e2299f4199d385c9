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

  // From cells that lie side by side; B is 4, the width of half a pair.
  static constexpr bool kPairs = B == 4 && Taps::kCount == 2 * Taps::kPairs;
  using Pair = typename VectorOf<A, 2 * B>::type;

  static Pair pair_at(const A* rows, uint32_t cell) {
    Pair pair;
    std::memcpy(&pair, rows + int64_t{cell} * B, sizeof pair);
    return pair;
  }

  static void gather_pairs(const A* rows, const Taps& taps, int count, A* tile) {
    for (int p = 0; p < count; ++p) {
      Pair sum = taps.pair_weight[0][p] * pair_at(rows, taps.pair_cell[0][p]);
      for (int i = 1; i < taps.kPairs; ++i)
        sum += taps.pair_weight[i][p] * pair_at(rows, taps.pair_cell[i][p]);
      const auto both = halves<A, 2 * B>(sum);
      const auto result = taps.x_weight[0][p] * both.low + taps.x_weight[1][p] * both.high;
      std::memcpy(tile + p * B, &result, sizeof result);
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

  // Adds to partial[tap] the products of a tile's rows with those that the taps read.
  template <class RowOf>
  static void add_products(RowOf row, const A* tile, const Taps& taps, int count,
                           A (&partial)[Taps::kCount][kTile * kFolded]) {
    for (int p = 0; p < count; ++p) {
      const Row at = Row::load(tile + p * B);
      for (int tap = 0; tap < taps.kCount; ++tap)
        add(product(at, Row::load(row(taps.cell[tap][p]))), partial[tap] + p * kFolded);
    }
  }

  static void add_pairs(const A* rows, const A* tile, const Taps& taps, int count,
                        A (&partial)[Taps::kCount][kTile * kFolded]) {
    for (int p = 0; p < count; ++p) {
      const Row at = Row::load(tile + p * B);
      for (int i = 0; i < taps.kPairs; ++i) {
        const A* from = rows + int64_t{taps.pair_cell[i][p]} * B;
        add(product(at, Row::load(from)), partial[2 * i] + p * kFolded);
        add(product(at, Row::load(from + B)), partial[2 * i + 1] + p * kFolded);
      }
    }
  }

 private:
  static void add(Folded value, A* to) {
    Folded sum;
    std::memcpy(&sum, to, sizeof sum);
    sum += value;
    std::memcpy(to, &sum, sizeof sum);
  }
};

}  // namespace motion_lab::grid_sample::cpu::MOTION_LAB_ISA
