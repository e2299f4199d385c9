// The module _simt_kernels: run(name, tensors) launches one of the test kernels.
#include "bindings/arguments.h"
#include "kernels.h"

PYBIND11_MODULE(_simt_kernels, module) {
  using namespace motion_lab;
  module.def(
      "run",
      [](const std::string& name, const std::vector<Tensor>& tensors) {
        auto kernels = simt_tests::right_kernels();
        kernels.merge(simt_tests::wrong_kernels());
        kernels.at(name)(tensors);
      },
      KernelCall());
}
