// What the selective scan's kernels are given. Shapes are those of motion_lab.ops.selective_scan
// with two simplifications made in Python: B and C always have a group dimension (constant ones are
// views with dim groups and strides of 0), and D, delta_bias and A are in the compute type
// (float32, or float64 when u is). `T` is the type of u, delta, z, B, C and out.
#pragma once

#include "common/isa.h"
#include "common/tensor.h"

namespace motion_lab::selective_scan {

// One time step; `state` is updated in place.
struct StepParams {
  Tensor state;       // (batch, dim, state), compute type
  Tensor u;           // (batch, dim), T
  Tensor delta;       // (batch, dim), T
  Tensor A;           // (dim, state)
  Tensor B;           // (batch, groups, state), T
  Tensor C;           // (batch, groups, state), T
  Tensor D;           // (dim,) or absent
  Tensor z;           // (batch, dim), T, or absent
  Tensor delta_bias;  // (dim,) or absent
  Tensor out;         // (batch, dim), T
  bool delta_softplus;
};

namespace cpu {
MOTION_LAB_PER_ISA(void step(const StepParams& params, int threads);)
}

}  // namespace motion_lab::selective_scan
