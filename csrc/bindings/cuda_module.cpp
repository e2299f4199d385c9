// The module motion_lab._native_cuda: the CUDA kernels of every op. As motion_lab._native_simt, the
// same kernels run on the CPU (csrc/simt).
#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace motion_lab {

void bind_cuda_causal_conv1d(py::module_& module);
void bind_cuda_grid_sample(py::module_& module);
void bind_cuda_region_attention(py::module_& module);
void bind_cuda_selective_scan(py::module_& module);

}  // namespace motion_lab

#if defined(MOTION_LAB_SIMT)
PYBIND11_MODULE(_native_simt, module) {
  module.attr("compiler") = "g++ " __VERSION__;
#else
PYBIND11_MODULE(_native_cuda, module) {
  module.attr("compiler") = "nvcc " MOTION_LAB_NVCC_VERSION;
  module.attr("architectures") = MOTION_LAB_CUDA_ARCHS;
#endif
  using namespace motion_lab;
  module.doc() = "CUDA kernels of motion_lab.ops; called through that package only.";
  bind_cuda_causal_conv1d(module);
  bind_cuda_grid_sample(module);
  bind_cuda_region_attention(module);
  bind_cuda_selective_scan(module);
}
