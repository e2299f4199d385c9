// Launches one of the wrong kernels, by name, where AddressSanitizer watches.
#include <vector>

#include "kernels.h"

int main(int count, char** arguments) {
  std::vector<float> memory(64);
  motion_lab::Tensor tensor;
  tensor.data = memory.data();
  tensor.dims = 1;
  tensor.size[0] = static_cast<int64_t>(memory.size());
  tensor.stride[0] = 1;
  motion_lab::simt_tests::wrong_kernels().at(count > 1 ? arguments[1] : "")({tensor});
}
