// exp(d a), of which the scan takes one for every channel, state and step: most of its work.
#pragma once

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "common/simd.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {

// Rates are scaled once, and then at(d, rate) gives exp(d a).
template <class F>
struct Decay {
  static Vec<F> scaled(Vec<F> a) { return a; }
  Vec<F> at(Vec<F> d, Vec<F> rate) const { return simd::exp(d * rate); }
};

#if defined(__AVX512F__)

// With 2^x = 2^k 2^(x - k) and k the multiple of 1/32 next to x: the fraction of k picks from a
// table, a cubic polynomial does the rest, and the processor scales by the integral part. Nine
// instructions, without a branch or a clamp. The polynomial is Taylor's, to 6e-10: near x = 0, where
// a state hardly fades, what is missing from 1 must be right too, or the error adds up over steps.
template <>
struct Decay<float> {
  static Vec<float> scaled(Vec<float> a) { return a * simd::kLog2E; }

  Vec<float> at(Vec<float> d, Vec<float> rate) const {
    // Adding 1.5 * 2^18 leaves k in units of 1/32, and j, its fraction, in the lowest five bits.
    const Vec<float> rounded = d * rate + kMagic;
    const Vec<float> k = rounded - kMagic;
    const Vec<float> f = d * rate - k;  // fused: exact but for the rounding of the result
    const Vec<float> root = reinterpret_cast<Vec<float>>(
        _mm512_permutex2var_ps(reinterpret_cast<__m512>(low_), reinterpret_cast<__m512i>(rounded),
                               reinterpret_cast<__m512>(high_)));
    const Vec<float> p = ((f * 5.5504109e-2f + 0.240226507f) * f + 0.693147181f) * f;
    return reinterpret_cast<Vec<float>>(
        _mm512_scalef_ps(reinterpret_cast<__m512>(root * p + root), reinterpret_cast<__m512>(k)));
  }

 private:
  static constexpr float kMagic = 393216.0f;
  // 2^(j / 32)
  Vec<float> low_ = {1.0f,        1.02189715f, 1.04427378f, 1.06714040f, 1.09050773f, 1.11438674f,
                     1.13878863f, 1.16372486f, 1.18920712f, 1.21524736f, 1.24185781f, 1.26905096f,
                     1.29683955f, 1.32523664f, 1.35425555f, 1.38390989f};
  Vec<float> high_ = {1.41421356f, 1.44518081f, 1.47682615f, 1.50916443f, 1.54221083f, 1.57598085f,
                      1.61049033f, 1.64575548f, 1.68179283f, 1.71861930f, 1.75625216f, 1.79470908f,
                      1.83400809f, 1.87416763f, 1.91520656f, 1.95714412f};
};

#endif

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
