#include "selective_scan/contract.h"

#include "bindings/arguments.h"

namespace motion_lab {

void bind_selective_scan(py::module_& module) {
  using namespace selective_scan;
  module.def(
      "selective_scan_step",
      [](Tensor state, Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor D, Tensor z,
         Tensor delta_bias, Tensor out, bool delta_softplus, int threads) {
        MOTION_LAB_CALL(
            cpu::,
            step({state, u, delta, A, B, C, D, z, delta_bias, out, delta_softplus}, threads));
      },
      WithoutGil());
}

}  // namespace motion_lab
