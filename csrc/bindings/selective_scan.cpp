#include "selective_scan/contract.h"

#include <array>

#include "bindings/arguments.h"

namespace motion_lab {

// The order of tensors in the lists is that of the structs' fields in contract.h.
void bind_selective_scan(py::module_& module) {
  using namespace selective_scan;
  module.attr("selective_scan_chunk") = kChunk;

  const auto inputs_of = [](const std::array<Tensor, 10>& t, bool softplus, bool reverse) {
    return Inputs{t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9], softplus, reverse};
  };
  module.def(
      "selective_scan_forward",
      [=](const std::array<Tensor, 10>& inputs, const std::array<Tensor, 3>& outputs,
          bool delta_softplus, bool reverse, int threads) {
        MOTION_LAB_CALL(cpu::, forward(inputs_of(inputs, delta_softplus, reverse),
                                       {outputs[0], outputs[1], outputs[2]}, threads));
      },
      KernelCall());
  module.def(
      "selective_scan_backward",
      [=](const std::array<Tensor, 10>& inputs, const Tensor& checkpoints,
          const std::array<Tensor, 11>& g, bool delta_softplus, bool reverse, int threads) {
        MOTION_LAB_CALL(
            cpu::,
            backward(inputs_of(inputs, delta_softplus, reverse), checkpoints,
                     {g[0], g[1], g[2], g[3], g[4], g[5], g[6], g[7], g[8], g[9], g[10]}, threads));
      },
      KernelCall());
  module.def(
      "selective_scan_step",
      [](const std::array<Tensor, 10>& t, bool delta_softplus, int threads) {
        MOTION_LAB_CALL(cpu::, step({t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8], t[9],
                                     delta_softplus},
                                    threads));
      },
      KernelCall());
}

}  // namespace motion_lab
