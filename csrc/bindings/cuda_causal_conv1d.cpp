#include <array>

#include "bindings/arguments.h"
#include "causal_conv1d/contract.h"

namespace motion_lab {

// The order of tensors in the lists is that of the structs' fields in contract.h.
void bind_cuda_causal_conv1d(py::module_& module) {
  using namespace causal_conv1d;
  module.attr("causal_conv1d_steps") = cuda::kSteps;
  module.attr("causal_conv1d_most_taps") = cuda::kMostTaps;
  module.def(
      "causal_conv1d_forward",
      [](const std::array<Tensor, 4>& t, const Tensor& out, bool silu, bool reverse, int device,
         uintptr_t stream) {
        cuda::forward({t[0], t[1], t[2], t[3], silu, reverse}, out, device, stream);
      },
      KernelCall());
  module.def(
      "causal_conv1d_backward",
      [](const std::array<Tensor, 4>& t, const std::array<Tensor, 3>& g, const Tensor& partials,
         bool silu, bool reverse, int device, uintptr_t stream) {
        cuda::backward({t[0], t[1], t[2], t[3], silu, reverse}, {g[0], g[1], {}, {}, g[2]},
                       partials, device, stream);
      },
      KernelCall());
}

}  // namespace motion_lab
