// The test kernels, by name: each is one launch over the tensors given.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/tensor.h"

namespace motion_lab::simt_tests {

using Kernels = std::map<std::string, void (*)(const std::vector<Tensor>&)>;

Kernels right_kernels();
Kernels wrong_kernels();

}  // namespace motion_lab::simt_tests
