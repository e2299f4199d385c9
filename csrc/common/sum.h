// Sums of many terms.
#pragma once

#include "common/host_device.h"

namespace motion_lab {

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

}  // namespace motion_lab
