#include <array>

#include "bindings/arguments.h"
#include "selective_scan/contract.h"

namespace motion_lab {

// The order of tensors in the lists is that of the structs' fields in contract.h.
void bind_cuda_selective_scan(py::module_& module) {
  using namespace selective_scan;
  module.attr("selective_scan_channels") = cuda::kBackwardChannels;
  module.def(
      "selective_scan_forward",
      [](const std::array<Tensor, 10>& t, const std::array<Tensor, 3>& outputs, bool delta_softplus,
         bool reverse, int device, uintptr_t stream) {
        cuda::forward(
            {t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], delta_softplus, reverse},
            {outputs[0], outputs[1], outputs[2]}, device, stream);
      },
      KernelCall());
  module.def(
      "selective_scan_backward",
      [](const std::array<Tensor, 10>& t, const Tensor& checkpoints, const std::array<Tensor, 6>& g,
         const std::array<Tensor, 6>& p, bool delta_softplus, bool reverse, int device,
         uintptr_t stream) {
        cuda::backward(
            {t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], delta_softplus, reverse},
            checkpoints, {g[0], g[1], g[2], g[3], {}, {}, {}, {}, g[4], {}, g[5]},
            {p[0], p[1], p[2], p[3], p[4], p[5]}, device, stream);
      },
      KernelCall());
  module.def(
      "selective_scan_step",
      [](const std::array<Tensor, 10>& t, bool delta_softplus, int device, uintptr_t stream) {
        cuda::step({t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], delta_softplus},
                   device, stream);
      },
      KernelCall());
}

}  // namespace motion_lab
