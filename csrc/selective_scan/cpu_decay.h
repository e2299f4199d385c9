// exp(d a), of which the scan takes one for every channel, state and step: most of its work.
#pragma once

#include "common/simd.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {

// Rates are scaled once, and then of<N>(d, rates, e) makes e_i = exp(d a_i).
template <class F>
struct Decay {
  static Vec<F> scaled(Vec<F> a) { return a; }

  template <int N>
  static void of(Vec<F> d, const Vec<F>* rates, Vec<F>* e) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) e[i] = simd::exp(d * rates[i]);
  }
};

template <>
struct Decay<float> {
  static Vec<float> scaled(Vec<float> a) { return a * simd::kLog2E; }

#if defined(__AVX512F__)
  // Ten instructions, without a branch or a clamp.
  template <int N>
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
  template <int N>
  static void of(Vec<float> d, const Vec<float>* rates, Vec<float>* e) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      const Vec<float> x = simd::at_most(128.0f, simd::at_least(-126.0f, d * rates[i]));
      const Vec<float> shifted = x + simd::kRoundingMagic;
      e[i] = simd::exp2(shifted, x - (shifted - simd::kRoundingMagic));
    }
  }
#endif
};

// How many states the forward advances together, their vectors in registers.
#if defined(__AVX512F__)
constexpr int kTogether = 8;
#else
constexpr int kTogether = 4;
#endif

// Calls body(std::integral_constant<int, N>(), first) for groups of N = kMost states, then for the
// rest in groups of fewer.
template <int kMost, class Body>
inline void for_states(int64_t states, Body&& body, int64_t first = 0) {
  for (; first + kMost <= states; first += kMost) body(std::integral_constant<int, kMost>(), first);
  if constexpr (kMost > 1) for_states<kMost / 2>(states, body, first);
}

}  // namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA
