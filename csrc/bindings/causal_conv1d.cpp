#include "causal_conv1d/contract.h"

#include <array>

#include "bindings/arguments.h"

namespace motion_lab {

// The order of tensors in the lists is that of the structs' fields in contract.h.
void bind_causal_conv1d(py::module_& module) {
  using namespace causal_conv1d;
  module.def(
      "causal_conv1d_forward",
      [](const std::array<Tensor, 4>& t, const Tensor& out, bool silu, bool reverse, int threads) {
        MOTION_LAB_CALL(cpu::, forward({t[0], t[1], t[2], t[3], silu, reverse}, out, threads));
      },
      KernelCall());
  module.def(
      "causal_conv1d_backward",
      [](const std::array<Tensor, 4>& t, const std::array<Tensor, 5>& g, bool silu, bool reverse,
         int threads) {
        MOTION_LAB_CALL(cpu::, backward({t[0], t[1], t[2], t[3], silu, reverse},
                                        {g[0], g[1], g[2], g[3], g[4]}, threads));
      },
      KernelCall());
}

}  // namespace motion_lab
