#include "grid_sample/contract.h"

#include "bindings/arguments.h"

namespace motion_lab {

void bind_grid_sample(py::module_& module) {
  using namespace grid_sample;
  module.def(
      "grid_sample",
      [](Tensor input, Tensor coordinates, Tensor weight, Tensor mask, Tensor out,
         bool displacement, int mode, int padding, bool align_corners, int threads) {
        const Params params{input,        coordinates, weight,           mask,
                            displacement, Mode(mode),  Padding(padding), align_corners};
        MOTION_LAB_CALL(cpu::, forward(params, out, threads));
      },
      KernelCall());
  module.def(
      "grid_sample_backward",
      [](Tensor grad, Tensor input, Tensor coordinates, Tensor weight, Tensor mask,
         Tensor grad_input, Tensor grad_coordinates, Tensor grad_weight, Tensor grad_mask,
         bool displacement, int mode, int padding, bool align_corners, int threads) {
        const Params params{input,        coordinates, weight,           mask,
                            displacement, Mode(mode),  Padding(padding), align_corners};
        const Gradients gradients{grad_input, grad_coordinates, grad_weight, grad_mask};
        MOTION_LAB_CALL(cpu::, backward(params, grad, gradients, threads));
      },
      KernelCall());
}

}  // namespace motion_lab
