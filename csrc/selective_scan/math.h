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

}  // namespace motion_lab::selective_scan
