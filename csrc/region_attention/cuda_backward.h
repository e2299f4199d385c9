// What the files of the GPU's backward pass share.
#pragma once

#include "region_attention/cuda_products.h"

namespace motion_lab::region_attention::cuda {

// A query's largest logit and the inverse of its sum, as the forward left them.
__device__ inline const float* softmax_of(const Gradients& gradients, int64_t batch, int64_t head,
                                          int64_t query) {
  const Tensor& softmax = gradients.softmax;
  return static_cast<const float*>(softmax.data) + batch * softmax.stride[0] +
         head * softmax.stride[1] + query * softmax.stride[2];
}

void backward_queries(const Inputs& inputs, const Gradients& gradients, const Tensor& q_words,
                      const Tensor& k_words, const Tensor& inner, Place place);
void backward_keys(const Inputs& inputs, const Gradients& gradients, const Tensor& q_words,
                   const Tensor& k_words, const Tensor& inner, Place place);

}  // namespace motion_lab::region_attention::cuda
