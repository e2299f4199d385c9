#include "bindings/arguments.h"
#include "region_attention/contract.h"

namespace motion_lab {

void bind_region_attention(py::module_& module) {
  module.def(
      "region_attention_forward",
      [](Tensor q, Tensor k, Tensor v, Tensor q_regions, Tensor k_regions, double scale, Tensor out,
         Tensor lse, Tensor softmax, int threads) {
        const region_attention::Forward call{q,     k,   v,   q_regions, k_regions,
                                             scale, out, lse, softmax};
        MOTION_LAB_CALL(region_attention::, forward(call, threads));
      },
      KernelCall());
  module.def(
      "region_attention_backward",
      [](Tensor q, Tensor k, Tensor v, Tensor q_regions, Tensor k_regions, double scale, Tensor out,
         Tensor softmax, Tensor grad_out, Tensor grad_lse, Tensor grad_q, Tensor grad_k,
         Tensor grad_v, int threads) {
        const region_attention::Backward call{q,      k,      v,       q_regions, k_regions,
                                              scale,  out,    softmax, grad_out,  grad_lse,
                                              grad_q, grad_k, grad_v};
        MOTION_LAB_CALL(region_attention::, backward(call, threads));
      },
      KernelCall());
}

}  // namespace motion_lab
