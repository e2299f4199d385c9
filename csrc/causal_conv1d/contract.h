// The depthwise causal convolution that precedes the scan in a Mamba block. With p the signal x
// continued by `width - 1` inputs, which lie before it in time, or after it where `reverse`,
//
//   pre_t = bias + Σ_k tap_k p_{t+k},   out_t = pre_t, or silu(pre_t) = pre_t sigmoid(pre_t);
//
// the taps of a channel are its weights, from the last to the first where `reverse`. The backward
// computes pre again. F is float64 where x is, else float32. Tensors may have any strides.
#pragma once

#include <cstdint>

#include "common/isa.h"
#include "common/tensor.h"

namespace motion_lab::causal_conv1d {

struct Inputs {
  Tensor x;       // (batch, dim, length), any floating type
  Tensor weight;  // (dim, width), F
  Tensor bias;    // (dim,), F, or absent
  Tensor edge;    // (batch, dim, width - 1) as x, what x is continued by, or absent: zeros
  bool silu;
  bool reverse;
};

// The gradient to read (out) and those to write (the rest; absent inputs have none), each of the
// type and shape of what it belongs to.
struct Gradients {
  Tensor out;
  Tensor x, weight, bias, edge;
};

// Results are bitwise the same for the same number of threads; the forward's for any number.
namespace cpu {
MOTION_LAB_PER_ISA(void forward(const Inputs& inputs, const Tensor& out, int threads);
                   void backward(const Inputs& inputs, const Gradients& gradients, int threads);)
}

// float32 computation only. `device` is the tensors' own, `stream` a cudaStream_t. Of its gradients
// the backward writes those of x and edge.
namespace cuda {
// Steps of a tile, and the most taps that there is shared memory for.
constexpr int kSteps = 64, kMostTaps = 32;

void forward(const Inputs& inputs, const Tensor& out, int device, uintptr_t stream);
// `partials`, float32 and contiguous, gets what each tile of x and its edge, kSteps of them, adds
// to the gradients of weight and, in the last row, bias: (batch * tiles, width + 1, dim).
void backward(const Inputs& inputs, const Gradients& gradients, const Tensor& partials, int device,
              uintptr_t stream);
}  // namespace cuda

}  // namespace motion_lab::causal_conv1d
