// Vectors of the widest registers of the instruction set that a file is compiled for, by the
// compiler's vector extension (gcc and clang): + - * / and comparisons work lane by lane, also
// against a scalar. Included by cpu*.cpp files only.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace motion_lab {
// Its own namespace per level, since the same names mean different code in each.
inline namespace MOTION_LAB_ISA {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct VecOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vec = typename VecOf<T>::type;
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
inline Vec<T> broadcast(T value) {
  return Vec<T>{} + value;
}

template <class T>
inline Vec<T> load(const T* source) {
  Vec<T> value;
  std::memcpy(&value, source, sizeof value);
  return value;
}

template <class T>
inline void store(T* target, Vec<T> value) {
  std::memcpy(target, &value, sizeof value);
}

template <class T>
inline T sum_of_lanes(Vec<T> value) {
  T lanes[kLanes<T>];
  store(lanes, value);
  for (int width = kLanes<T> / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

// Elements of another type, as many as a vector has lanes, converted.
template <class F, class T>
inline Vec<F> load_as(const T* source) {
  F lanes[kLanes<F>];
  for (int i = 0; i < kLanes<F>; ++i) lanes[i] = static_cast<F>(source[i]);
  return load(lanes);
}
template <class F, class T>
inline void store_as(T* target, Vec<F> value) {
  F lanes[kLanes<F>];
  store(lanes, value);
  for (int i = 0; i < kLanes<F>; ++i) target[i] = static_cast<T>(lanes[i]);
}

// Lanes of a and b in turn: from their first halves, or from their second ones.
template <bool kSecond, class V, int... i>
inline V interleave(V a, V b, std::integer_sequence<int, i...>) {
  constexpr int lanes = sizeof...(i), first = kSecond ? lanes / 2 : 0;
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, (first + i / 2 + i % 2 * lanes)...);
#else
  using Mask = decltype(a < b);
  return __builtin_shuffle(a, b, Mask{(first + i / 2 + i % 2 * lanes)...});
#endif
}

// Makes rows columns: interleaving the halves of the rows moves each one's place a bit on, as many
// times as a lane has bits.
template <class T>
inline void transpose(Vec<T>* rows) {
  constexpr int lanes = kLanes<T>;
  const std::make_integer_sequence<int, lanes> all;
  Vec<T> other[lanes];
  Vec<T>*from = rows, *to = other;
  for (int bit = 1; bit < lanes; bit *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < lanes / 2; ++i) {
      to[2 * i] = interleave<false>(from[i], from[i + lanes / 2], all);
      to[2 * i + 1] = interleave<true>(from[i], from[i + lanes / 2], all);
    }
    std::swap(from, to);
  }
  if (from != rows) std::copy(other, other + lanes, rows);
}

// Adds the sum of the lanes of each of N vectors to the N values at target.
template <int N, class V, class T>
inline void add_sums(const V* vectors, T* target) {
  constexpr int lanes = static_cast<int>(sizeof(V) / sizeof(T));
  if constexpr (N == 4 && lanes >= 8) {
    // Two rounds leave lanes whose places, modulo four, are those of the vectors.
    const std::make_integer_sequence<int, lanes> all;
    const auto pair = [&](V a, V b) {
      return interleave<false>(a, b, all) + interleave<true>(a, b, all);
    };
    T parts[lanes];
    store(parts, pair(pair(vectors[0], vectors[2]), pair(vectors[1], vectors[3])));
    for (int i = 0; i < 4; ++i) {
      T sum = 0;
      for (int part = i; part < lanes; part += 4) sum += parts[part];
      target[i] += sum;
    }
  } else {
    for (int i = 0; i < N; ++i) target[i] += sum_of_lanes<T>(vectors[i]);
  }
}

namespace simd {

// 2^f for |f| <= 0.5; p fitted for the least greatest relative error (2e-9 before rounding).
inline Vec<float> exp2_fraction(Vec<float> f) {
  Vec<float> p = f * 1.535336064e-4f + 1.339887487e-3f;
  p = p * f + 9.618437366e-3f;
  p = p * f + 5.550332470e-2f;
  p = p * f + 2.402264791e-1f;
  p = p * f + 6.931472029e-1f;
  return p * f + 1.0f;
}

// value * 2^k for k from -126 to 128 that was rounded by adding 1.5 * 2^23.
inline Vec<float> scale_by_rounded(Vec<float> value, Vec<float> k_plus_magic) {
  const auto bits = reinterpret_cast<Vec<int32_t>>(k_plus_magic);
  return value * reinterpret_cast<Vec<float>>((bits + 127) << 23);
}

constexpr float kRoundingMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
constexpr float kLog2E = 1.44269502f;
constexpr float kLog2ERest = 1.92596303e-8f;
// ln 2 as the difference of two numbers, the first so short that its multiples are exact.
constexpr float kLn2 = 0.693359375f;
constexpr float kLn2Rest = 2.12194440e-4f;

// e^x, to about one unit in the last place. It is 2^-126 at the least, and infinite from 88.38 up.
inline Vec<float> exp(Vec<float> x) {
  x = x < -87.33654f ? broadcast(-87.33654f) : x;  // a NaN fails both comparisons and stays
  x = x > 88.8f ? broadcast(88.8f) : x;
  const Vec<float> rounded = x * kLog2E + kRoundingMagic;
  const Vec<float> k = rounded - kRoundingMagic;
#if defined(__FMA__)
  // Fused, x log2 e - k loses nothing but the constant's own rounding.
  const Vec<float> fraction = (x * kLog2E - k) + x * kLog2ERest;
#else
  const Vec<float> fraction = ((x - k * kLn2) + k * kLn2Rest) * kLog2E;
#endif
  return scale_by_rounded(exp2_fraction(fraction), rounded);
}

// ln x for normal positive x, to about two units in the last place.
inline Vec<float> log(Vec<float> x) {
  // x = (1 + m) 2^k with 1 + m in [sqrt(1/2), sqrt(2)).
  const auto bits = reinterpret_cast<Vec<int32_t>>(x);
  const Vec<int32_t> exponent = (bits - 0x3f3504f3) >> 23;
  const Vec<float> m = reinterpret_cast<Vec<float>>(bits - (exponent << 23)) - 1.0f;
  const Vec<float> k = __builtin_convertvector(exponent, Vec<float>);
  // ln(1 + m) = m - m^2/2 + m^3 p(m), p fitted for the least greatest relative error.
  Vec<float> p = m * -7.634474193e-2f + 1.276156811e-1f;
  p = p * m - 1.316018664e-1f;
  p = p * m + 1.420175950e-1f;
  p = p * m - 1.662335705e-1f;
  p = p * m + 2.000122681e-1f;
  p = p * m - 2.500082104e-1f;
  p = p * m + 3.333333171e-1f;
  const Vec<float> square = m * m;
  return (m + (p * m * square - 0.5f * square - k * kLn2Rest)) + k * kLn2;
}

template <double (*function)(double)>
inline Vec<double> each_lane(Vec<double> x) {
  double lanes[kLanes<double>];
  store(lanes, x);
  for (double& lane : lanes) lane = function(lane);
  return load(lanes);
}

// float64 is for verification: the library's functions, lane by lane.
inline Vec<double> exp(Vec<double> x) { return each_lane<std::exp>(x); }
inline Vec<double> log1p(Vec<double> x) { return each_lane<std::log1p>(x); }

// 1/x to twelve bits, for normal x.
inline Vec<float> rough_reciprocal(Vec<float> x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec<float>>(_mm512_rcp14_ps(reinterpret_cast<__m512>(x)));
#elif defined(__AVX__)
  return reinterpret_cast<Vec<float>>(_mm256_rcp_ps(reinterpret_cast<__m256>(x)));
#else
  return 1.0f / x;
#endif
}

// ln(1 + x) for x >= 0; the last term gives back what 1 + x lost, less than half of its last place.
inline Vec<float> log1p(Vec<float> x) {
  const Vec<float> sum = 1.0f + x;
  return log(sum) + (x - (sum - 1.0f)) * rough_reciprocal(sum);
}

template <class V>
inline V softplus(V x) {
  const V y = log1p(exp(x < 20 ? x : V{} + 20));
  return x > 20 ? x : y;
}

template <class V>
inline V sigmoid(V x) {
  return 1 / (1 + exp(-x));
}

}  // namespace simd

// Memory for vectors, aligned to a cache line; uninitialised.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes ? bytes : 64)));
    if (!data_) throw std::bad_alloc();
  }
  T* data() { return data_.get(); }
  T& operator[](int64_t i) { return data_.get()[i]; }
  void zero(int64_t count) { std::memset(static_cast<void*>(data_.get()), 0, count * sizeof(T)); }

 private:
  struct Free {
    void operator()(T* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace MOTION_LAB_ISA
}  // namespace motion_lab
