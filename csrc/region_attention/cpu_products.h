// Building blocks of the CPU kernels on small, aligned, contiguous tiles: vectors, the exponential,
// the matrix product and the packing of strided tensors. Included by cpu*.cpp alone, inside the
// namespace of its instruction set.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>

#include "common/dtype.h"
#include "common/simd.h"

namespace motion_lab::region_attention::MOTION_LAB_ISA {

// Vectors side by side in the matrix product's register block: four need 32 registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kMaxColumns = 4;
#else
constexpr int kMaxColumns = 2;
#endif

template <class T>
struct Lanes {
  static constexpr int width = kVectorBytes / static_cast<int>(sizeof(T));
  using Bits = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  typedef Bits Mask __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename Lanes<T>::Vector;
template <class T>
using Mask = typename Lanes<T>::Mask;

template <class T>
inline Vector<T> load(const T* from) {
  return *reinterpret_cast<const Vector<T>*>(from);
}
template <class T>
inline void store(T* to, Vector<T> value) {
  *reinterpret_cast<Vector<T>*>(to) = value;
}
template <class T>
inline Vector<T> splat(T value) {
  return value - Vector<T>{};
}
template <class T>
inline Vector<T> larger(Vector<T> a, Vector<T> b) {
  return a > b ? a : b;
}
template <class T>
constexpr int64_t round_to_vector(int64_t count) {
  return (count + Lanes<T>::width - 1) / Lanes<T>::width * Lanes<T>::width;
}

// 2^x for x up to a little above zero, 0 far below the normal numbers, NaN for NaN.
using simd::exp2;

// The polynomial is the minimax one of 2^f on [-1/2, 1/2] (Remez), good to 3e-18.
inline Vector<double> exp2(Vector<double> x) {
  using V = Vector<double>;
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52
  const V clamped = x < -1022.0 ? splat(-1022.0) : x;
  const V shifted = clamped + kRound;
  const V f = clamped - (shifted - kRound);
  V p = splat(4.455817908336064493e-10);
  p = p * f + 7.0741942972885210056e-9;
  p = p * f + 1.0178057087733941105e-7;
  p = p * f + 1.3215432535912376166e-6;
  p = p * f + 1.5252733841556772589e-5;
  p = p * f + 1.5403530463724354209e-4;
  p = p * f + 1.3333558146406470697e-3;
  p = p * f + 9.6181291075872566681e-3;
  p = p * f + 5.5504108664821627039e-2;
  p = p * f + 2.4022650695910159567e-1;
  p = p * f + 6.9314718055994530925e-1;
  p = p * f + 1.0;
  const Mask<double> bits = (Mask<double>)p + ((Mask<double>)shifted << 52);
  return x < -1022.0 ? V{} : (V)bits;
}

// What becomes of the matrix product's old result: c = a b, c += a b, or c = factor c + a b with a
// factor for each column.
enum class Old { dropped, kept, scaled };

template <class T, Old old, int rows, int columns>
inline void product_block(int64_t depth, const T* a, int64_t a_row, int64_t a_depth, const T* b,
                          int64_t b_row, T* c, int64_t c_row, const T* factor) {
  constexpr int W = Lanes<T>::width;
  Vector<T> sum[rows][columns];
  for (int r = 0; r < rows; ++r)
    for (int n = 0; n < columns; ++n) {
      if constexpr (old == Old::dropped) sum[r][n] = Vector<T>{};
      if constexpr (old == Old::kept) sum[r][n] = load(c + r * c_row + n * W);
      if constexpr (old == Old::scaled)
        sum[r][n] = load(c + r * c_row + n * W) * load(factor + n * W);
    }
  for (int64_t i = 0; i < depth; ++i) {
    Vector<T> line[columns];
    for (int n = 0; n < columns; ++n) line[n] = load(b + i * b_row + n * W);
    for (int r = 0; r < rows; ++r) {
      const Vector<T> value = splat(a[r * a_row + i * a_depth]);
      for (int n = 0; n < columns; ++n) sum[r][n] += value * line[n];
    }
  }
  for (int r = 0; r < rows; ++r)
    for (int n = 0; n < columns; ++n) store(c + r * c_row + n * W, sum[r][n]);
}

template <class T, Old old, int columns>
inline void product_columns(int64_t count, int64_t depth, const T* a, int64_t a_row,
                            int64_t a_depth, const T* b, int64_t b_row, T* c, int64_t c_row,
                            const T* factor) {
  // Of 16 registers six rows of two take twelve for sums, two for the line and one for the value.
  constexpr int kRows = columns < kMaxColumns ? 8 : kMaxColumns == 2 ? 6 : 4;
  int64_t r = 0;
  const auto run = [&](auto rows) {
    constexpr int n = decltype(rows)::value;
    for (; r + n <= count; r += n)
      product_block<T, old, n, columns>(depth, a + r * a_row, a_row, a_depth, b, b_row,
                                        c + r * c_row, c_row, factor);
  };
  run(std::integral_constant<int, kRows>{});
  if constexpr (kRows > 4) run(std::integral_constant<int, 4>{});
  run(std::integral_constant<int, 2>{});
  run(std::integral_constant<int, 1>{});
}

// c (rows x columns) from a (rows x depth, any strides) and b (depth x columns). The rows of b and
// c are aligned, `columns` is a multiple of the vector's width.
template <class T, Old old>
inline void product(int64_t rows, int64_t columns, int64_t depth, const T* a, int64_t a_row,
                    int64_t a_depth, const T* b, int64_t b_row, T* c, int64_t c_row,
                    const T* factor = nullptr) {
  constexpr int W = Lanes<T>::width;
  int64_t n = 0;
  const auto run = [&](auto vectors) {
    constexpr int count = decltype(vectors)::value;
    for (; n + count * W <= columns; n += count * W)
      product_columns<T, old, count>(rows, depth, a, a_row, a_depth, b + n, b_row, c + n, c_row,
                                     factor ? factor + n : nullptr);
  };
  run(std::integral_constant<int, kMaxColumns>{});
  if constexpr (kMaxColumns > 2) run(std::integral_constant<int, 2>{});
  run(std::integral_constant<int, 1>{});
}

// Numbers at a stride, converted; the tail up to `width` is zeroed.
template <class In, class T>
inline void pack_row(T* to, int64_t width, const In* from, int64_t stride, int64_t count) {
  if (stride == 1)
    for (int64_t c = 0; c < count; ++c) to[c] = static_cast<T>(from[c]);
  else
    for (int64_t c = 0; c < count; ++c) to[c] = static_cast<T>(from[c * stride]);
  for (int64_t c = count; c < width; ++c) to[c] = T{0};
}

// The transpose, times a factor, of a packed (rows x columns) tile; the tail of each line up to
// `width` is zeroed.
template <class T>
inline void transpose(T* to, int64_t width, const T* from, int64_t from_row, int64_t rows,
                      int64_t columns, T factor) {
  // Squares are turned over in registers: number by number this takes as long as a product.
  constexpr int64_t W = Lanes<T>::width;
  const int64_t whole_rows = rows / W * W, whole_columns = columns / W * W;
  for (int64_t c = 0; c < whole_columns; c += W)
    for (int64_t r = 0; r < whole_rows; r += W) {
      Vector<T> square[W];
      for (int64_t i = 0; i < W; ++i) square[i] = motion_lab::load(from + (r + i) * from_row + c);
      motion_lab::transpose<T>(square);
      for (int64_t i = 0; i < W; ++i) store(to + (c + i) * width + r, square[i] * factor);
    }
  for (int64_t c = 0; c < columns; ++c) {
    T* line = to + c * width;
    for (int64_t r = c < whole_columns ? whole_rows : 0; r < rows; ++r)
      line[r] = from[r * from_row + c] * factor;
    for (int64_t r = rows; r < width; ++r) line[r] = T{0};
  }
}

// Aligned memory that each thread keeps between calls: a block of this size fresh from the system
// page-faults at every use.
template <class T>
class Workspace {
 public:
  // Contents are undefined.
  T* reserve(int64_t count) {
    if (count > capacity_) {
      memory_.reset();
      const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
      memory_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
      if (!memory_) throw std::bad_alloc();
      capacity_ = count;
    }
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(T* memory) const { std::free(memory); }
  };
  std::unique_ptr<T[], Free> memory_;
  int64_t capacity_ = 0;
};

}  // namespace motion_lab::region_attention::MOTION_LAB_ISA
