// Element types that cross the border from Python, and the 16-bit floats' conversions.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace motion_lab {

// The codes are those of motion_lab/ops/_native.py.
enum class DType : int {
  float32 = 0,
  float64 = 1,
  bfloat16 = 2,
  float16 = 3,
  int32 = 4,
  int64 = 5,
  uint8 = 6,
  boolean = 7,
};

inline int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::float64:
    case DType::int64:
      return 8;
    case DType::float32:
    case DType::int32:
      return 4;
    case DType::bfloat16:
    case DType::float16:
      return 2;
    default:
      return 1;
  }
}

inline float bits_to_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline uint32_t float_to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

struct BFloat16 {
  uint16_t bits;

  BFloat16() = default;
  // Rounds to nearest, ties to even, as torch does.
  explicit BFloat16(float value) {
    const uint32_t word = float_to_bits(value);
    const uint32_t rounded = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
    bits = static_cast<uint16_t>(value != value ? 0x7fc0u : rounded);
  }
  operator float() const { return bits_to_float(static_cast<uint32_t>(bits) << 16); }
};

struct Float16 {
  uint16_t bits;

  Float16() = default;
#if defined(__F16C__)
  explicit Float16(float value)
      : bits(static_cast<uint16_t>(_cvtss_sh(value, _MM_FROUND_TO_NEAREST_INT))) {}
  operator float() const { return _cvtsh_ss(bits); }
#else
  explicit Float16(float value) {
    const uint32_t word = float_to_bits(value);
    const uint32_t sign = (word >> 16) & 0x8000u;
    const uint32_t magnitude = word & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
      bits = static_cast<uint16_t>(sign | 0x7e00u);
    } else if (magnitude >= 0x477ff000u) {  // 65520 and above round to infinity
      bits = static_cast<uint16_t>(sign | 0x7c00u);
    } else if (magnitude < 0x38800000u) {
      // Subnormal: adding 0.5 aligns the significand so that the addition itself rounds.
      const uint32_t shifted = float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u;
      bits = static_cast<uint16_t>(sign | shifted);
    } else {
      const uint32_t rebased = magnitude - 0x38000000u;
      bits = static_cast<uint16_t>(sign | ((rebased + 0xfffu + ((rebased >> 13) & 1u)) >> 13));
    }
  }
  operator float() const {
    const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
    const uint32_t exponent = (bits >> 10) & 0x1fu;
    const uint32_t significand = bits & 0x3ffu;
    if (exponent == 0x1f) return bits_to_float(sign | 0x7f800000u | (significand << 13));
    if (exponent == 0) {
      const float value = static_cast<float>(significand) * 5.9604644775390625e-8f;  // 2^-24
      return sign ? -value : value;
    }
    return bits_to_float(sign | ((exponent + 112) << 23) | (significand << 13));
  }
#endif
};

// What a type is computed in: float32 for the 16-bit floats, else itself.
template <class T>
struct Compute {
  using type = T;
};
template <>
struct Compute<BFloat16> {
  using type = float;
};
template <>
struct Compute<Float16> {
  using type = float;
};
template <class T>
using compute_t = typename Compute<T>::type;

}  // namespace motion_lab
