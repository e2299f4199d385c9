// exp(d a), of which the scan takes one for every channel, state and step: most of its work.
#pragma once

#include "common/simd.h"

namespace motion_lab::selective_scan::cpu::MOTION_LAB_ISA {

// Rates are scaled once, and then of<N, kBounded>(d, rates, e) makes e_i = exp(d a_i). Where there
// is a shorter way for exponents that are known to be small, within_bound() says whether they are.
template <class F>
struct Decay {
  static constexpr bool kHasBound = false;

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
  static constexpr bool kHasBound = false;

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
#if defined(__AVX2__)
  static constexpr bool kHasBound = true;
#else
  static constexpr bool kHasBound = false;
#endif

  // Whether |d_t a_n| <= 126 everywhere: then each power of two is a normal number.
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
    const auto beyond = ~(largest(d, steps) * largest(rates, states) <= 126.0f);
    int32_t any = 0;
    for (int i = 0; i < kLanes<float>; ++i) any |= beyond[i];
    return !any;
  }

  template <int N, bool kBounded>
  static void of(Vec<float> d, const Vec<float>* rates, Vec<float>* e) {
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
#if defined(__AVX2__)
      if constexpr (kBounded) {
        e[i] = power_of(d, rates[i]);
        continue;
      }
#endif
      const Vec<float> x = simd::at_most(128.0f, simd::at_least(-126.0f, d * rates[i]));
      const Vec<float> shifted = x + simd::kRoundingMagic;
      e[i] = simd::exp2(shifted, x - (shifted - simd::kRoundingMagic));
    }
  }

#if defined(__AVX2__)
 private:
  // 2^(d a), |d a| <= 126, in ten instructions. With k the multiple of 1/8 next to d a, a table has
  // the fraction of 2^k and adding has its integral part; a cubic polynomial of the rest follows,
  // fitted for the least greatest relative error (2.7e-8 before rounding).
  static Vec<float> power_of(Vec<float> d, Vec<float> a) {
    constexpr float kMagic = 1572864.0f;  // 1.5 * 2^20: the lowest three bits count eighths
    constexpr Vec<float> kRoots = {1.0f,        1.09050775f, 1.18920708f, 1.29683959f,
                                   1.41421354f, 1.54221082f, 1.68179286f, 1.83400810f};
    const auto x_plus = [&](Vec<float> c) {
      return reinterpret_cast<Vec<float>>(_mm256_fmadd_ps(
          reinterpret_cast<__m256>(d), reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(c)));
    };
    const Vec<float> shifted = x_plus(broadcast(kMagic));
    const Vec<float> f = x_plus(kMagic - shifted);
    using Bits = Vec<int32_t>;
    // The eighths are part of what is shifted into the exponent's place: the table lacks them.
    const Bits table = reinterpret_cast<Bits>(kRoots) - (Bits{0, 1, 2, 3, 4, 5, 6, 7} << 20);
    const Bits fraction = reinterpret_cast<Bits>(_mm256_permutevar8x32_ps(
        reinterpret_cast<__m256>(table), reinterpret_cast<__m256i>(shifted)));
    const auto root =
        reinterpret_cast<Vec<float>>(fraction + (reinterpret_cast<Bits>(shifted) << 20));
    Vec<float> p = f * 5.54962233e-2f + 2.40257636e-1f;
    p = p * f + 6.93147242e-1f;
    return root * (p * f) + root;
  }
#endif
#endif
};

// Calls body(std::bool_constant<kBounded>()) for the decays of some steps and states.
template <class F, class Body>
inline void with_bound(const Vec<F>* d, int steps, const Vec<F>* rates, int64_t states,
                       Body&& body) {
  if constexpr (Decay<F>::kHasBound)
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
