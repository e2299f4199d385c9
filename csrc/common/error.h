// Errors that reach Python: std::invalid_argument becomes ValueError, std::runtime_error
// RuntimeError.
#pragma once

#include <stdexcept>
#include <string>

namespace motion_lab {

inline void check(bool condition, const char* message) {
  if (!condition) throw std::invalid_argument(message);
}

}  // namespace motion_lab
