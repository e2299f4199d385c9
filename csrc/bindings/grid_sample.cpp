#include "grid_sample/contract.h"

#include <array>

#include "bindings/arguments.h"

namespace motion_lab {

// `t`: input, coordinates, weight, mask; `g`: their gradients.
void bind_grid_sample(py::module_& module) {
  using namespace grid_sample;
  module.def(
      "grid_sample",
      [](const std::array<Tensor, 4>& t, const Tensor& out, bool displacement, int mode,
         int padding, bool align_corners, int threads) {
        const Params params{
            t[0], t[1], t[2], t[3], displacement, Mode(mode), Padding(padding), align_corners};
        MOTION_LAB_CALL(cpu::, forward(params, out, threads));
      },
      KernelCall());
  module.def(
      "grid_sample_backward",
      [](const Tensor& grad, const std::array<Tensor, 4>& t, const std::array<Tensor, 4>& g,
         bool displacement, int mode, int padding, bool align_corners, int threads) {
        const Params params{
            t[0], t[1], t[2], t[3], displacement, Mode(mode), Padding(padding), align_corners};
        const Gradients gradients{g[0], g[1], g[2], g[3]};
        MOTION_LAB_CALL(cpu::, backward(params, grad, gradients, threads));
      },
      KernelCall());
}

}  // namespace motion_lab
