// What the selective scan's kernels are given. Shapes and meanings are those of
// motion_lab.ops.selective_scan; tensors may have any strides. F is the type of the computation:
// float64 where u is, and then everything is; else float32, and `any` stands for float32, bfloat16
// or float16, each tensor its own.
#pragma once

#include <cstdint>

#include "common/isa.h"
#include "common/tensor.h"

namespace motion_lab::selective_scan {

// Time steps between two states that the forward keeps for the backward.
constexpr int64_t kChunk = 32;

// What forward, backward and step read. Absent tensors are None in Python.
struct Inputs {
  Tensor u;              // (batch, dim, length), any
  Tensor delta;          // (batch, dim, length), any
  Tensor A;              // (dim, state), F
  Tensor B;              // (dim, state), F, or (batch, groups, state, length), any
  Tensor C;              // like B; the same groups
  Tensor D;              // (dim,), F, or absent
  Tensor z;              // (batch, dim, length), any, or absent
  Tensor delta_bias;     // (dim,), F, or absent
  Tensor initial_state;  // (sequences, dim, state), F, or absent: zeros
  Tensor cu_seqlens;     // (sequences + 1,), int32, or absent: a sequence per batch row
  bool delta_softplus;
  bool reverse;
};

struct Outputs {
  Tensor out;         // (batch, dim, length), any
  Tensor last_state;  // (sequences, dim, state), F
  // (chunks, state * dim), F, contiguous, or absent: the state before each kChunk steps. The chunks
  // of sequence i start at row i * ceil(length / kChunk), or at cu_seqlens[i] / kChunk + i.
  // Channels lie side by side on the CPU, and the states of a channel do in CUDA.
  Tensor checkpoints;
};

// Gradients to read (out, last_state) and to write (the rest; absent inputs have none).
// Each has the type and shape of what it belongs to.
struct Gradients {
  Tensor out, last_state;
  Tensor u, delta, A, B, C, D, z, delta_bias, initial_state;
};

// Where the CUDA backward leaves what several blocks contribute to dA, dB, dC, dD and ddelta_bias:
// to be added up over the first dimension. All float32 and contiguous.
struct Partials {
  Tensor A;              // (sequences, dim, state)
  Tensor B, C;           // like A where constant, else (parts, batch, groups, length, state)
  Tensor D, delta_bias;  // (sequences, dim)
  Tensor state;          // like A: scratch
};

// One time step, all in F; `state` is updated in place. u, delta, z, out: (batch, dim); B, C:
// (batch, groups, state).
struct Step {
  Tensor state, u, delta, A, B, C, D, z, delta_bias, out;
  bool delta_softplus;
};

namespace cpu {
MOTION_LAB_PER_ISA(void forward(const Inputs& inputs, const Outputs& outputs, int threads);
                   void backward(const Inputs& inputs, const Tensor& checkpoints,
                                 const Gradients& gradients, int threads);
                   void step(const Step& arguments, int threads);)
}

// float32 computation only. `device` is the tensors' own, `stream` a cudaStream_t. Bounds in
// cu_seqlens are not checked, but never lead outside the tensors. Of its gradients the backward
// writes those of u, delta, z and initial_state.
namespace cuda {
void forward(const Inputs& inputs, const Outputs& outputs, int device, uintptr_t stream);
void backward(const Inputs& inputs, const Tensor& checkpoints, const Gradients& gradients,
              const Partials& partials, int device, uintptr_t stream);
void step(const Step& arguments, int device, uintptr_t stream);
// Channels that a block of the backward has, and so how many parts a group of B and C falls into.
constexpr int kBackwardChannels = 16;
}  // namespace cuda

}  // namespace motion_lab::selective_scan
