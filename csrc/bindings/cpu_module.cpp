// The module motion_lab._native_cpu: the CPU kernels of every op.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "common/error.h"
#include "common/isa.h"

namespace py = pybind11;

namespace motion_lab {

void bind_causal_conv1d(py::module_& module);
void bind_grid_sample(py::module_& module);
void bind_region_attention(py::module_& module);
void bind_head_renderer(py::module_& module);
void bind_selective_scan(py::module_& module);

namespace {

void set_isa_by_name(const std::string& name) {
  for (Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
    if (name == name_of(isa)) return set_isa(isa);
  check(false, "isa must be baseline, avx2 or avx512");
}

}  // namespace
}  // namespace motion_lab

PYBIND11_MODULE(_native_cpu, module) {
  using namespace motion_lab;
  module.doc() = "CPU kernels of motion_lab.ops; called through that package only.";
#if defined(__clang__)
  module.attr("compiler") = __VERSION__;
#else
  module.attr("compiler") = "gcc " __VERSION__;
#endif
  module.def("isa", [] { return name_of(active_isa()); });
  module.def("set_isa", &set_isa_by_name);
  bind_causal_conv1d(module);
  bind_grid_sample(module);
  bind_region_attention(module);
  bind_head_renderer(module);
  bind_selective_scan(module);
}
