// What the sampling kernels are given. `grid_sample` and `warp` are one operation here: K fields of
// coordinates, which are positions or displacements, and optional factors. Images are volumes of
// depth 1 whose coordinates have two components. Positions are computed and sums taken in float32,
// in float64 when the input is float64.
#pragma once

#include "common/isa.h"
#include "common/tensor.h"

namespace motion_lab::grid_sample {

// The codes are those of motion_lab/ops/grid_sample.py.
enum class Mode : int { bilinear = 0, nearest = 1, bicubic = 2 };
enum class Padding : int { zeros = 0, border = 1, reflection = 2 };

// Any strides and floating-point types. With weights there is one output, F = 1, sampled at the
// weighted sum of the fields, else F = K.
struct Params {
  Tensor input;        // (N, C, D, H, W), not empty in space
  Tensor coordinates;  // (N, K, D', H', W', 2 or 3): (x, y[, z]), normalised
  Tensor weight;       // (N, K, D', H', W') or absent
  Tensor mask;         // (N, D', H', W') or absent: multiplies every output
  bool displacement;   // the coordinates are added to the identity grid
  Mode mode;           // bicubic: with 2 components only
  Padding padding;
  bool align_corners;
};

// Gradients that are not wanted are absent; those that are are written whole.
struct Gradients {
  Tensor input;
  Tensor coordinates;
  Tensor weight;
  Tensor mask;
};

namespace cpu {
MOTION_LAB_PER_ISA(
    // out: (N, F, C, D', H', W').
    void forward(const Params& params, const Tensor& out, int threads);
    // grad: (N, F, C, D', H', W'). The same bits for the same number of threads.
    void backward(const Params& params, const Tensor& grad, const Gradients& gradients,
                  int threads);)
}

// Workspace of the input's gradient in CUDA: which points add to which cells, see cuda_gather.cu. A
// point has E entries: 1 if bilinear, else one for each tap. An item has K keys: its cells, or one
// cell more along each axis if bilinear. All contiguous.
struct PointLists {
  Tensor keys;           // (N F points E), int64
  Tensor slots;          // like keys, int32
  Tensor loads;          // (N F points E, 4 if bilinear, else 1), float32
  Tensor counts;         // (N K + 1), int32, zeros: of a key, at the place after it
  Tensor starts;         // like counts, int64: their sums up to there
  Tensor arrived;        // like keys, int32
  Tensor ordered;        // like keys, int32
  Tensor ordered_loads;  // like loads
  // (1 + most), int64: how many cells have more than kCrowd entries, zero at first, and which ones,
  // as item * cells + cell. An entry belongs to 2^rank cells if bilinear, else to one.
  Tensor crowds;
};
constexpr int kCrowd = 64;

// float32 computation only. `device` is the tensors' own, `stream` a cudaStream_t.
namespace cuda {
void forward(const Params& params, const Tensor& out, int device, uintptr_t stream);
// All gradients but the input's; the mask's one by output, (N, F, D', H', W'), to be added up.
void backward(const Params& params, const Tensor& grad, const Gradients& gradients, int device,
              uintptr_t stream);
// The input's, in three steps: `locate` fills keys, slots, loads and counts, `order` the rest but
// for starts. For `gather` grad is (N, F, C, points).
void locate(const Params& params, const PointLists& lists, int device, uintptr_t stream);
void order(const PointLists& lists, int64_t items, int device, uintptr_t stream);
void gather(const Params& params, const Tensor& grad, const Tensor& to, const PointLists& lists,
            int device, uintptr_t stream);
// The input's by atomics, added to `to`, which is float32. Not the same bits at every run.
void scatter(const Params& params, const Tensor& grad, const Tensor& to, int device,
             uintptr_t stream);
}  // namespace cuda

}  // namespace motion_lab::grid_sample
