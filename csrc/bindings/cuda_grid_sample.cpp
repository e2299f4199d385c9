#include <array>

#include "bindings/arguments.h"
#include "grid_sample/contract.h"

namespace motion_lab {

// `t`: input, coordinates, weight, mask. Other lists have the order of the structs in contract.h.
void bind_cuda_grid_sample(py::module_& module) {
  using namespace grid_sample;
  module.attr("grid_sample_crowd") = kCrowd;
  using Tensors = std::array<Tensor, 4>;
  using Workspace = std::array<Tensor, 9>;
  const auto params_of = [](const Tensors& t, bool displacement, int mode, int padding,
                            bool align_corners) {
    return Params{t[0],         t[1], t[2], t[3], displacement, Mode(mode), Padding(padding),
                  align_corners};
  };
  const auto lists_of = [](const Workspace& w) {
    return PointLists{w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8]};
  };
  module.def(
      "grid_sample",
      [=](const Tensors& t, const Tensor& out, bool displacement, int mode, int padding,
          bool align_corners, int device, uintptr_t stream) {
        cuda::forward(params_of(t, displacement, mode, padding, align_corners), out, device,
                      stream);
      },
      KernelCall());
  module.def(
      "grid_sample_backward",
      [=](const Tensor& grad, const Tensors& t, const Tensors& gradients, bool displacement,
          int mode, int padding, bool align_corners, int device, uintptr_t stream) {
        cuda::backward(params_of(t, displacement, mode, padding, align_corners), grad,
                       {{}, gradients[1], gradients[2], gradients[3]}, device, stream);
      },
      KernelCall());
  module.def(
      "grid_sample_locate",
      [=](const Tensors& t, const Workspace& lists, bool displacement, int mode, int padding,
          bool align_corners, int device, uintptr_t stream) {
        cuda::locate(params_of(t, displacement, mode, padding, align_corners), lists_of(lists),
                     device, stream);
      },
      KernelCall());
  module.def(
      "grid_sample_order",
      [=](const Workspace& lists, int64_t items, int device, uintptr_t stream) {
        cuda::order(lists_of(lists), items, device, stream);
      },
      KernelCall());
  module.def(
      "grid_sample_gather",
      [=](const Tensor& grad, const Tensors& t, const Tensor& to, const Workspace& lists,
          bool displacement, int mode, int padding, bool align_corners, int device,
          uintptr_t stream) {
        cuda::gather(params_of(t, displacement, mode, padding, align_corners), grad, to,
                     lists_of(lists), device, stream);
      },
      KernelCall());
  module.def(
      "grid_sample_scatter",
      [=](const Tensor& grad, const Tensors& t, const Tensor& to, bool displacement, int mode,
          int padding, bool align_corners, int device, uintptr_t stream) {
        cuda::scatter(params_of(t, displacement, mode, padding, align_corners), grad, to, device,
                      stream);
      },
      KernelCall());
}

}  // namespace motion_lab
