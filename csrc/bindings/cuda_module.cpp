// The module motion_lab._native_cuda: the CUDA kernels of every op.
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace motion_lab {

void bind_cuda_selective_scan(py::module_& module);

}  // namespace motion_lab

PYBIND11_MODULE(_native_cuda, module) {
  using namespace motion_lab;
  module.doc() = "CUDA kernels of motion_lab.ops; called through that package only.";
  module.attr("compiler") = "nvcc " MOTION_LAB_NVCC_VERSION;
  module.attr("architectures") = MOTION_LAB_CUDA_ARCHS;
  bind_cuda_selective_scan(module);
}
