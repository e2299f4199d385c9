// exp(d a), of which the scan takes one for every channel, state and step: most of its work.
#pragma once

#include <limits>
#include <type_traits>

#include "common/simd.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {

// Rates are scaled once, and then of<N, kBounded>(d, rates, e) makes e_i = exp(d a_i). Where
// clamping takes instructions, within_bound() finds out whether it can be left out.
template <class F>
struct Decay {
  static constexpr bool kClamps = false;

  static Vec<F> scaled(Vec<F> a) { return a; }

  template <int N, bool kBounded>
  static void of(Vec<F> d, const Vec<F>* rates, Vec<F>* e) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) e[i] = simd::exp(d * rates[i]);
  }
};

template <>
struct Decay<float> {
  static Vec<float> scaled(Vec<float> a) { return a * simd::kLog2E; }

#if defined(__AVX512F__)
  static constexpr bool kClamps = false;

  // Ten instructions, without a branch or a clamp.
  template <int N, bool kBounded>
  static void of(Vec<float> d, const Vec<float>* rates, Vec<float>* e) {
    Vec<float> x[N], shifted[N], k[N];
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      // By this name a product is not fused with the additions, which have units of their own.
      x[i] = reinterpret_cast<Vec<float>>(_mm512_mul_round_ps(reinterpret_cast<__m512>(d),
                                                              reinterpret_cast<__m512>(rates[i]),
                                                              _MM_FROUND_CUR_DIRECTION));
      shifted[i] = x[i] + simd::kExp2Magic;
    }
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      k[i] = shifted[i] - simd::kExp2Magic;
      x[i] -= k[i];
    }
    simd::exp2<N>(shifted, k, x, e);
  }
#else
  static constexpr bool kClamps = true;

  // Whether |d_t a_n| is so small everywhere that no decay is past the normal numbers. A NaN, which
  // stays one either way, counts as small.
  static bool within_bound(const Vec<float>* d, int steps, const Vec<float>* rates,
                           int64_t states) {
    const auto largest = [](const Vec<float>* values, int64_t count) {
      Vec<float> most{};
      for (int64_t i = 0; i < count; ++i) {
        const Vec<float> size = values[i] < 0 ? -values[i] : values[i];
        most = size > most ? size : most;
      }
      return most;
    };
    const Vec<int32_t> within = largest(d, steps) * largest(rates, states) <= kBound;
    int32_t all = -1;
    for (int i = 0; i < kLanes<float>; ++i) all &= within[i];
    return all;
  }

  // Ten instructions where bounded, with AVX2. The same numbers in either case: what a channel
  // gives does not depend on its neighbours.
  template <int N, bool kBounded>
  static void of(Vec<float> d, const Vec<float>* rates, Vec<float>* e) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      const Vec<float> shifted = multiply_add(d, rates[i], broadcast(simd::kExp2Magic));
      e[i] = simd::exp2(shifted, multiply_add(d, rates[i], simd::kExp2Magic - shifted));
      if constexpr (!kBounded) {
        const Vec<float> x = d * rates[i];
        e[i] = x < -kBound ? Vec<float>{} : e[i];
        e[i] = x > kMost ? broadcast(std::numeric_limits<float>::infinity()) : e[i];
      }
    }
  }

 private:
  static constexpr float kBound = 126.0f;
  static constexpr float kMost = 127.4f;  // that exp2 takes

  // By an intrinsic: of a product that is wanted twice gcc fuses neither.
  static Vec<float> multiply_add(Vec<float> a, Vec<float> b, Vec<float> c) {
#if defined(__FMA__)
    return reinterpret_cast<Vec<float>>(_mm256_fmadd_ps(
        reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
#else
    return a * b + c;
#endif
  }
#endif
};

// Calls body(std::bool_constant<kBounded>()) for the decays of some steps and states.
template <class F, class Body>
inline void with_bound(const Vec<F>* d, int steps, const Vec<F>* rates, int64_t states,
                       Body&& body) {
  if constexpr (Decay<F>::kClamps)
    if (Decay<F>::within_bound(d, steps, rates, states)) return body(std::true_type());
  body(std::false_type());
}

// How many states the forward advances together, their vectors in registers as far as these
// suffice.
constexpr int kTogether = 8;

// Calls body(std::integral_constant<int, N>(), first) for groups of N = kMost states, then for the
// rest in groups of fewer.
template <int kMost, class Body>
inline void for_states(int64_t states, Body&& body, int64_t first = 0) {
  for (; first + kMost <= states; first += kMost) body(std::integral_constant<int, kMost>(), first);
  if constexpr (kMost > 1) for_states<kMost / 2>(states, body, first);
}

}  // namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA
