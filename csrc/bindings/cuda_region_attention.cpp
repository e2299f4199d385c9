#include <array>

#include "bindings/arguments.h"
#include "region_attention/contract.h"

namespace motion_lab {

// The order of tensors in the lists is that of the structs' fields in contract.h.
void bind_cuda_region_attention(py::module_& module) {
  using namespace region_attention;
  module.def(
      "region_attention_forward",
      [](const std::array<Tensor, 7>& t, const std::array<Tensor, 3>& outputs,
         const std::array<Tensor, 2>& words, double scale, int device, uintptr_t stream) {
        cuda::forward({t[0], t[1], t[2], t[3], t[4], t[5], t[6], scale},
                      {outputs[0], outputs[1], outputs[2]}, words[0], words[1], device, stream);
      },
      KernelCall());
  module.def(
      "region_attention_backward",
      [](const std::array<Tensor, 7>& t, const std::array<Tensor, 4>& given,
         const std::array<Tensor, 3>& written, const std::array<Tensor, 3>& work, double scale,
         int device, uintptr_t stream) {
        cuda::backward({t[0], t[1], t[2], t[3], t[4], t[5], t[6], scale},
                       {given[0], given[1], given[2], given[3], written[0], written[1], written[2]},
                       work[0], work[1], work[2], device, stream);
      },
      KernelCall());
}

}  // namespace motion_lab
