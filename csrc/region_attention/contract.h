// Attention between the tokens that share a region. Query i of batch b attends to key j iff
// q_regions(b, i) & k_regions(b, j) is not zero; with P the softmax over those keys of scale q·k,
//
//   out = P v,   lse = log sum exp(scale q·k);   a query without keys: out = 0, lse = -inf.
//
// Nothing of size Lq x Lk is ever stored: both passes walk over tiles of pairs and recompute P.
#pragma once

#include "common/isa.h"
#include "common/tensor.h"

namespace motion_lab::region_attention {

struct Inputs {
  Tensor q;                     // (B, H, Lq, D); D <= 256
  Tensor k, v;                  // (B, Hk, Lk, D) in q's dtype, Hk dividing H
  Tensor q_regions, k_regions;  // int64 (B, Lq), (B, Lk)
  // int64 (B, Lq), (B, Lk): in which order tokens are worked on, best those of a region together.
  // Absent: as they lie.
  Tensor q_order, k_order;
  double scale;
};

struct Outputs {
  Tensor out;  // as q
  Tensor lse;  // (B, H, Lq) in float32, float64 when q is
  // (B, H, Lq, 2) as lse: each query's largest logit in base 2 and the inverse of the sum of its
  // 2^(logit - largest). The backward's weights come from these: from lse, whose own rounding
  // grows with the logits, they would not add up to one.
  Tensor softmax;
};

struct Gradients {
  Tensor out, softmax;            // what the forward wrote
  Tensor grad_out;                // as out
  Tensor grad_lse;                // (B, H, Lq); absent: zero
  Tensor grad_q, grad_k, grad_v;  // written, as q, k, v
};

// Every stride may be anything, zero in the inputs included. Results are bitwise the same for the
// same number of threads; the forward's for any number.
MOTION_LAB_PER_ISA(void forward(const Inputs& inputs, const Outputs& outputs, int threads);
                   void backward(const Inputs& inputs, const Gradients& gradients, int threads);)

namespace cuda {

constexpr int kWordTile = 32;  // tokens whose words are classed together

// On one device, in the order of its stream; forward and backward in float32 and the 16-bit floats.
// To work in: q_words, k_words int64 (B, tiles of kWordTile tokens, 2), inner float32 (B, H, Lq).
void forward(const Inputs& inputs, const Outputs& outputs, const Tensor& q_words,
             const Tensor& k_words, int device, uintptr_t stream);
void backward(const Inputs& inputs, const Gradients& gradients, const Tensor& q_words,
              const Tensor& k_words, const Tensor& inner, int device, uintptr_t stream);

}  // namespace cuda

}  // namespace motion_lab::region_attention
