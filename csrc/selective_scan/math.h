// The scan's element-wise functions, the same on the CPU and on the GPU.
#pragma once

#include <cmath>

#include "common/host_device.h"

namespace motion_lab::selective_scan {

constexpr float kLog2E = 1.44269502f;

// log(1 + exp(x)); above 20 it is x to within float32, which also keeps exp from overflowing
// (torch.nn.functional.softplus has the same threshold).
template <class T>
MOTION_LAB_HOST_DEVICE T softplus(T x) {
  return x > T(20) ? x : std::log1p(std::exp(x));
}

template <class T>
MOTION_LAB_HOST_DEVICE T sigmoid(T x) {
  return T(1) / (T(1) + std::exp(-x));
}

template <class T>
MOTION_LAB_HOST_DEVICE T silu(T x) {
  return x * sigmoid(x);
}

// A sum of many terms that loses no more digits the more there are (Kahan, "Further remarks on
// reducing truncation errors", 1965). T may be a vector.
template <class T>
struct CompensatedSum {
  T sum, lost;

  MOTION_LAB_HOST_DEVICE void add(T term) {
    const T wanted = term - lost;
    const T next = sum + wanted;
    lost = (next - sum) - wanted;
    sum = next;
  }
};

}  // namespace motion_lab::selective_scan
