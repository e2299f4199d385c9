#include <array>

#include "bindings/arguments.h"
#include "region_attention/contract.h"

namespace motion_lab {

// The order of tensors in the lists is that of the structs' fields in contract.h.
void bind_region_attention(py::module_& module) {
  using namespace region_attention;
  module.def(
      "region_attention_forward",
      [](const std::array<Tensor, 7>& t, const std::array<Tensor, 3>& outputs, double scale,
         int threads) {
        const Inputs inputs{t[0], t[1], t[2], t[3], t[4], t[5], t[6], scale};
        MOTION_LAB_CALL(region_attention::,
                        forward(inputs, {outputs[0], outputs[1], outputs[2]}, threads));
      },
      KernelCall());
  module.def(
      "region_attention_backward",
      [](const std::array<Tensor, 7>& t, const std::array<Tensor, 4>& given,
         const std::array<Tensor, 3>& written, double scale, int threads) {
        const Inputs inputs{t[0], t[1], t[2], t[3], t[4], t[5], t[6], scale};
        const Gradients gradients{given[0],   given[1],   given[2],  given[3],
                                  written[0], written[1], written[2]};
        MOTION_LAB_CALL(region_attention::, backward(inputs, gradients, threads));
      },
      KernelCall());
}

}  // namespace motion_lab
