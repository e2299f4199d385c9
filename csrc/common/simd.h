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
#include <type_traits>
#include <utility>

#include "common/dtype.h"

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

// As many 16-bit words as a vector has float32 lanes.
typedef uint16_t Words __attribute__((vector_size(kVectorBytes / 2)));

// Elements of another type, as many as a vector has lanes, converted. Of 16-bit floats compilers
// convert a loop one by one.
template <class F, class T>
inline Vec<F> load_as(const T* source) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    Words words;
    std::memcpy(&words, source, sizeof words);
    return reinterpret_cast<Vec<F>>(__builtin_convertvector(words, Vec<uint32_t>) << 16);
#if defined(__F16C__)
  } else if constexpr (std::is_same_v<T, Float16>) {
#if defined(__AVX512F__)
    const auto words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source));
    return reinterpret_cast<Vec<F>>(_mm512_cvtph_ps(words));
#else
    const auto words = _mm_loadu_si128(reinterpret_cast<const __m128i*>(source));
    return reinterpret_cast<Vec<F>>(_mm256_cvtph_ps(words));
#endif
#endif
  } else {
    F lanes[kLanes<F>];
    for (int i = 0; i < kLanes<F>; ++i) lanes[i] = static_cast<F>(source[i]);
    return load(lanes);
  }
}
template <class F, class T>
inline void store_as(T* target, Vec<F> value) {
  if constexpr (std::is_same_v<T, BFloat16>) {  // rounded as by its constructor
    const auto bits = reinterpret_cast<Vec<uint32_t>>(value);
    const Vec<uint32_t> rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const Vec<uint32_t> result = value != value ? broadcast(0x7fc0u) : rounded;
    const Words words = __builtin_convertvector(result, Words);
    std::memcpy(target, &words, sizeof words);
#if defined(__F16C__)
  } else if constexpr (std::is_same_v<T, Float16>) {
#if defined(__AVX512F__)
    const auto words = _mm512_cvtps_ph(reinterpret_cast<__m512>(value), _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(target), words);
#else
    const auto words = _mm256_cvtps_ph(reinterpret_cast<__m256>(value), _MM_FROUND_TO_NEAREST_INT);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(target), words);
#endif
#endif
  } else {
    F lanes[kLanes<F>];
    store(lanes, value);
    for (int i = 0; i < kLanes<F>; ++i) target[i] = static_cast<T>(lanes[i]);
  }
}

// Lane i of the result is lane from(i) of a and b together; `from` is a constexpr function.
template <class V, class From, int... i>
inline V shuffle(V a, V b, From from, std::integer_sequence<int, i...>) {
#if defined(__clang__) || __GNUC__ >= 12
  return __builtin_shufflevector(a, b, from(i)...);
#else
  using Mask = decltype(a < b);
  return __builtin_shuffle(a, b, Mask{from(i)...});
#endif
}
template <class T, class From>
inline Vec<T> shuffle(Vec<T> a, Vec<T> b, From from) {
  return shuffle(a, b, from, std::make_integer_sequence<int, kLanes<T>>());
}

// Takes a vector for squares of kWide units (2 or 4) of kUnit lanes side by side. Half of each
// square comes from a, half from b: every kStep-th unit from kFirst on.
template <class T, int kUnit, int kWide, int kFirst, int kStep>
inline Vec<T> pick(Vec<T> a, Vec<T> b) {
  return shuffle<T>(a, b, [](int lane) constexpr {
    constexpr int half = kWide / 2;
    const int unit = lane / kUnit, in_square = unit % kWide;
    const int source = unit - in_square + kFirst + in_square % half * kStep;
    return source * kUnit + lane % kUnit + (in_square < half ? 0 : kLanes<T>);
  });
}

// Turns over the squares in kWide rows that lie `apart`.
template <class T, int kUnit, int kWide>
inline void transpose_squares(Vec<T>* rows, int apart) {
  constexpr int half = kWide / 2;
  Vec<T>&a = rows[0], &b = rows[apart];
  const Vec<T> low = pick<T, kUnit, kWide, 0, 1>(a, b);
  const Vec<T> high = pick<T, kUnit, kWide, half, 1>(a, b);
  if constexpr (kWide == 2) {
    a = low;
    b = high;
  } else {
    Vec<T>&c = rows[2 * apart], &d = rows[3 * apart];
    const Vec<T> other_low = pick<T, kUnit, kWide, 0, 1>(c, d);
    const Vec<T> other_high = pick<T, kUnit, kWide, half, 1>(c, d);
    a = pick<T, kUnit, kWide, 0, 2>(low, other_low);
    b = pick<T, kUnit, kWide, 1, 2>(low, other_low);
    c = pick<T, kUnit, kWide, 0, 2>(high, other_high);
    d = pick<T, kUnit, kWide, 1, 2>(high, other_high);
  }
}

// Makes rows columns: first squares of four lanes change places, whole, then each is turned over.
// Processors shuffle within and among such squares faster than lane by lane.
template <class T>
inline void transpose(Vec<T>* rows) {
  constexpr int lanes = kLanes<T>, square = std::min(lanes, 4);
  if constexpr (lanes > square)
#pragma GCC unroll 4
    for (int i = 0; i < square; ++i) transpose_squares<T, square, lanes / square>(rows + i, square);
#pragma GCC unroll 4
  for (int i = 0; i < lanes; i += square) transpose_squares<T, 1, square>(rows + i, 1);
}

// Adds halves of a vector to each other until kLeft lanes are left, and those to the target's.
template <int kLeft, class T, class V>
inline void add_folded(V value, T* target) {
  if constexpr (sizeof value == kLeft * sizeof(T)) {
    V sums;
    std::memcpy(&sums, target, sizeof sums);
    sums += value;
    std::memcpy(target, &sums, sizeof sums);
  } else {
    typedef T Half __attribute__((vector_size(sizeof(V) / 2)));
    Half halves[2];
    std::memcpy(halves, &value, sizeof value);
    add_folded<kLeft>(Half(halves[0] + halves[1]), target);
  }
}

// Adds the sum of the lanes of each of N vectors to the N values at target.
template <int N, class T>
inline void add_sums(const Vec<T>* vectors, T* target) {
  if constexpr (N == 4 && kLanes<T> >= 4) {
    // Neighbours added, twice: then every square of four lanes has a sum for each vector.
    const auto pairs = [](Vec<T> a, Vec<T> b) {
      return pick<T, 1, 4, 0, 2>(a, b) + pick<T, 1, 4, 1, 2>(a, b);
    };
    add_folded<4>(pairs(pairs(vectors[0], vectors[1]), pairs(vectors[2], vectors[3])), target);
  } else {
    for (int i = 0; i < N; ++i) target[i] += sum_of_lanes<T>(vectors[i]);
  }
}

namespace simd {

// The larger and the smaller of each lane's value and a bound. A NaN stays.
inline Vec<float> at_least(float bound, Vec<float> x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec<float>>(
      _mm512_max_ps(_mm512_set1_ps(bound), reinterpret_cast<__m512>(x)));
#elif defined(__AVX__)
  return reinterpret_cast<Vec<float>>(
      _mm256_max_ps(_mm256_set1_ps(bound), reinterpret_cast<__m256>(x)));
#else
  return x < bound ? broadcast(bound) : x;
#endif
}
inline Vec<float> at_most(float bound, Vec<float> x) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec<float>>(
      _mm512_min_ps(_mm512_set1_ps(bound), reinterpret_cast<__m512>(x)));
#elif defined(__AVX__)
  return reinterpret_cast<Vec<float>>(
      _mm256_min_ps(_mm256_set1_ps(bound), reinterpret_cast<__m256>(x)));
#else
  return x > bound ? broadcast(bound) : x;
#endif
}

constexpr float kLog2E = 1.44269502f;
constexpr float kLog2ERest = 1.92596303e-8f;

#if defined(__AVX512F__)

// Adding it to x leaves in the lowest five bits of the sum how many 1/32 x is past an integer.
constexpr float kExp2Magic = 393216.0f;  // 1.5 * 2^18

// 2^x of N vectors, for x = k + f with k the multiple of 1/32 next to x, in six instructions: the
// fraction of k picks from a table of roots, a cubic polynomial of f does the rest, and the
// processor scales by the integral part. The polynomial is Taylor's, to 6e-10, so that near x = 0
// what is missing from 1 is right too. N chains go along together: one alone is mostly waiting.
// shifted: x + kExp2Magic, rounded.
template <int N>
inline void exp2(const Vec<float>* shifted, const Vec<float>* k, const Vec<float>* f,
                 Vec<float>* result) {
  // 2^(j / 32)
  const Vec<float> low = {1.0f,        1.02189715f, 1.04427378f, 1.06714040f,
                          1.09050773f, 1.11438674f, 1.13878863f, 1.16372486f,
                          1.18920712f, 1.21524736f, 1.24185781f, 1.26905096f,
                          1.29683955f, 1.32523664f, 1.35425555f, 1.38390989f};
  const Vec<float> high = {1.41421356f, 1.44518081f, 1.47682615f, 1.50916443f,
                           1.54221083f, 1.57598085f, 1.61049033f, 1.64575548f,
                           1.68179283f, 1.71861930f, 1.75625216f, 1.79470908f,
                           1.83400809f, 1.87416763f, 1.91520656f, 1.95714412f};
  Vec<float> root[N], p[N];
  const auto each = [](auto body) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) body(i);
  };
  each([&](int i) {
    root[i] = reinterpret_cast<Vec<float>>(
        _mm512_permutex2var_ps(reinterpret_cast<__m512>(low), reinterpret_cast<__m512i>(shifted[i]),
                               reinterpret_cast<__m512>(high)));
  });
  each([&](int i) { p[i] = f[i] * 5.5504109e-2f + 0.240226507f; });
  each([&](int i) { p[i] = p[i] * f[i] + 0.693147181f; });
  each([&](int i) { p[i] = p[i] * f[i]; });
  each([&](int i) { p[i] = root[i] * p[i] + root[i]; });
  each([&](int i) {
    result[i] = reinterpret_cast<Vec<float>>(
        _mm512_scalef_ps(reinterpret_cast<__m512>(p[i]), reinterpret_cast<__m512>(k[i])));
  });
}

// e^x, to about one unit in the last place.
inline Vec<float> exp(Vec<float> x) {
  x = at_most(89.0f, at_least(-104.0f, x));
  const Vec<float> shifted = x * kLog2E + kExp2Magic;
  const Vec<float> k = shifted - kExp2Magic;
  const Vec<float> f = (x * kLog2E - k) + x * kLog2ERest;
  Vec<float> result;
  exp2<1>(&shifted, &k, &f, &result);
  return result;
}

// 2^x for x up to 128; 0 far below the normal numbers, NaN for NaN.
inline Vec<float> exp2(Vec<float> x) {
  x = at_least(-200.0f, x);
  const Vec<float> shifted = x + kExp2Magic;
  const Vec<float> k = shifted - kExp2Magic;
  const Vec<float> f = x - k;
  Vec<float> result;
  exp2<1>(&shifted, &k, &f, &result);
  return result;
}

#else

constexpr float kRoundingMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer

// 2^(k + f) for whole numbers k from -126 to 128, 0 for k = -127, and |f| <= 0.5.
// shifted: k + kRoundingMagic.
inline Vec<float> exp2_of_whole(Vec<float> shifted, Vec<float> f) {
  // Fitted for the least greatest relative error (2e-9 before rounding).
  Vec<float> p = f * 1.535336064e-4f + 1.339887487e-3f;
  p = p * f + 9.618437366e-3f;
  p = p * f + 5.550332470e-2f;
  p = p * f + 2.402264791e-1f;
  p = p * f + 6.931472029e-1f;
  const auto power = (reinterpret_cast<Vec<int32_t>>(shifted) + 127) << 23;
  return (p * f + 1.0f) * reinterpret_cast<Vec<float>>(power);
}

#if defined(__AVX2__)

// Adding it to x leaves in the lowest three bits of the sum how many eighths x is past an integer.
constexpr float kExp2Magic = 1572864.0f;  // 1.5 * 2^20

// 2^(k + f) for the multiples k of 1/8 from -126 to 127.875, 0 for k = -127, and |f| <= 1/16. A
// table has the fraction of 2^k, an addition its integral part; a cubic polynomial does the rest,
// fitted for the least greatest relative error (2.7e-8 before rounding). shifted: k + kExp2Magic.
inline Vec<float> exp2(Vec<float> shifted, Vec<float> f) {
  using Bits = Vec<int32_t>;
  // 2^(j / 8). The table lacks the eighths themselves, part of what is shifted to the exponent.
  constexpr Vec<float> roots = {1.0f,        1.09050775f, 1.18920708f, 1.29683959f,
                                1.41421354f, 1.54221082f, 1.68179286f, 1.83400810f};
  const Bits table = reinterpret_cast<Bits>(roots) - (Bits{0, 1, 2, 3, 4, 5, 6, 7} << 20);
  const auto fraction = reinterpret_cast<Bits>(_mm256_permutevar8x32_ps(
      reinterpret_cast<__m256>(table), reinterpret_cast<__m256i>(shifted)));
  const auto root =
      reinterpret_cast<Vec<float>>(fraction + (reinterpret_cast<Bits>(shifted) << 20));
  Vec<float> p = f * 5.54962233e-2f + 2.40257636e-1f;
  p = p * f + 6.93147242e-1f;
  return root * (p * f) + root;
}

#else

constexpr float kExp2Magic = kRoundingMagic;

inline Vec<float> exp2(Vec<float> shifted, Vec<float> f) { return exp2_of_whole(shifted, f); }

#endif

// 2^x for x below 127.5; 0 from -127 down, at most the smallest normal number from there to -126,
// NaN for NaN.
inline Vec<float> exp2(Vec<float> x) {
  x = at_least(-127.0f, x);
  const Vec<float> shifted = x + kExp2Magic;
  return exp2(shifted, x - (shifted - kExp2Magic));
}

// ln 2 as the difference of two numbers, the first so short that its multiples are exact.
constexpr float kLn2 = 0.693359375f;
constexpr float kLn2Rest = 2.12194440e-4f;

// e^x, to about one unit in the last place. It is 2^-126 at the least, and infinite from 88.38 up.
inline Vec<float> exp(Vec<float> x) {
  x = at_most(88.8f, at_least(-87.33654f, x));
  const Vec<float> shifted = x * kLog2E + kRoundingMagic;
  const Vec<float> k = shifted - kRoundingMagic;
#if defined(__FMA__)
  // Fused, x log2 e - k loses nothing but the constant's own rounding.
  const Vec<float> f = (x * kLog2E - k) + x * kLog2ERest;
#else
  const Vec<float> f = ((x - k * kLn2) + k * kLn2Rest) * kLog2E;
#endif
  return exp2_of_whole(shifted, f);
}

#endif

template <double (*function)(double)>
inline Vec<double> each_lane(Vec<double> x) {
  double lanes[kLanes<double>];
  store(lanes, x);
  for (double& lane : lanes) lane = function(lane);
  return load(lanes);
}

// float64 is for verification: the library's functions, lane by lane.
inline Vec<double> exp(Vec<double> x) { return each_lane<std::exp>(x); }

// ln(1 + x) for x from 0 to 1.
inline Vec<double> log1p_to_1(Vec<double> x) { return each_lane<std::log1p>(x); }
inline Vec<float> log1p_to_1(Vec<float> x) {
  // ln(1 + x) / x, fitted for the least greatest relative error (5e-9 before rounding).
  Vec<float> p = x * -3.24402417e-3f + 1.98514578e-2f;
  p = p * x - 5.69595257e-2f;
  p = p * x + 1.06036546e-1f;
  p = p * x - 1.53055921e-1f;
  p = p * x + 1.96759391e-1f;
  p = p * x - 2.49541336e-1f;
  p = p * x + 3.33299624e-1f;
  p = p * x - 4.99999024e-1f;
  return (p * x + 1.0f) * x;
}

// ln(1 + e^x), and x from 20 on, as torch has it; with its slope, the sigmoid of x, by the same
// exponential.
template <class V>
inline V softplus(V x, V& slope) {
  const V e = exp(x > 0 ? -x : x), of_larger = 1 / (1 + e);
  slope = x > 0 ? of_larger : e * of_larger;
  const V y = (x > 0 ? x : V{}) + log1p_to_1(e);
  return x > 20 ? x : y;
}
template <class V>
inline V softplus(V x) {
  V slope;
  return softplus(x, slope);
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
  T* data() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }
  void zero(int64_t count) const {
    std::memset(static_cast<void*>(data_.get()), 0, count * sizeof(T));
  }

 private:
  struct Free {
    void operator()(T* pointer) const { std::free(pointer); }
  };
  std::unique_ptr<T, Free> data_;
};

}  // namespace MOTION_LAB_ISA
}  // namespace motion_lab
