// What a warp of the GPU kernels does with its rows and a streamed tile: the two matrix products,
// by tensor cores for 16-bit numbers and by float32 additions else, and what lies between them. A
// lane's part of a matrix is that of common/mma.h in both: of every 16 x 8 block, two neighbouring
// columns of two rows.
#pragma once

#include "region_attention/cuda_tiles.h"

namespace motion_lab::region_attention::cuda {

// A lane's part of a warp's rows times kColumns.
template <class S, int kColumns>
using Part = float[S::kMatrices][kColumns / 8][4];
// A number for each of a lane's rows.
template <class S>
using PerRow = float[S::kMatrices][2];

__device__ inline int lane_row() { return threadIdx.x % kWarp / 4; }
__device__ inline int lane_column() { return threadIdx.x % 4 * 2; }

// The row of the block's that is a lane's (matrix, half).
template <class S>
__device__ int row_of(int matrix, int half) {
  return (threadIdx.x / kWarp * S::kMatrices + matrix) * 16 + half * 8 + lane_row();
}

// Calls body(matrix, block, i) for every element of a part.
template <class S, int kColumns, class Body>
__device__ void for_each_element(Body&& body) {
#pragma unroll
  for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
    for (int n = 0; n < kColumns / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) body(m, n, i);
}

// sums = the warp's rows times those of a streamed tile, transposed; size: their channels.
template <class S>
__device__ void multiply_rows(Part<S, S::kStream>& sums, const typename S::Element* rows,
                              const typename S::Element* others, int size) {
  const int lane = threadIdx.x % kWarp;
  for_each_element<S, S::kStream>([&](int m, int n, int i) { sums[m][n][i] = 0.0f; });
  if constexpr (S::kTensorCores) {
    const auto* row = rows + lane % 16 * S::kPitch + lane / 16 * 8;
    const auto* other = others + (lane % 8 + lane / 16 * 8) * S::kPitch + lane / 8 % 2 * 8;
    // Unrolled further, wide heads' sums no longer fit the registers.
#pragma unroll(S::kSize > 64 ? 1 : 2)
    for (int k = 0; k < S::kSize; k += 16) {
      unsigned a[S::kMatrices][4];
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m)
        motion_lab::cuda::load_matrices<false>(a[m], row + m * 16 * S::kPitch + k);
#pragma unroll
      for (int n = 0; n < S::kStream / 16; ++n) {
        unsigned b[4];
        motion_lab::cuda::load_matrices<false>(b, other + n * 16 * S::kPitch + k);
#pragma unroll
        for (int m = 0; m < S::kMatrices; ++m) {
          motion_lab::cuda::mma<typename S::Element>(sums[m][n * 2], a[m], b);
          motion_lab::cuda::mma<typename S::Element>(sums[m][n * 2 + 1], a[m], b + 2);
        }
      }
    }
  } else {
    const float* row = rows + lane_row() * S::kPitch;
    const float* other = others + lane_column() * S::kPitch;
#pragma unroll 1
    for (int k = 0; k < size; k += 4) {
      float4 a[S::kMatrices][2];
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half)
          a[m][half] = *reinterpret_cast<const float4*>(row + (m * 16 + half * 8) * S::kPitch + k);
#pragma unroll
      for (int n = 0; n < S::kStream / 8; ++n)
#pragma unroll
        for (int c = 0; c < 2; ++c) {
          const auto b = *reinterpret_cast<const float4*>(other + (n * 8 + c) * S::kPitch + k);
#pragma unroll
          for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              float& sum = sums[m][n][half * 2 + c];
              sum += a[m][half].x * b.x;
              sum += a[m][half].y * b.y;
              sum += a[m][half].z * b.z;
              sum += a[m][half].w * b.w;
            }
        }
    }
  }
}

// sums += weights times the streamed tile, from the given column on. `through`: a warp's place in
// shared memory for weights, which other lanes of a row need.
template <class S, int kColumns>
__device__ void add_product(Part<S, kColumns>& sums, const Part<S, S::kStream>& weights,
                            const typename S::Element* others, float* through) {
  const int lane = threadIdx.x % kWarp;
  if constexpr (S::kTensorCores) {
    using Element = typename S::Element;
    const auto* other = others + lane % 16 * S::kPitch + lane / 16 * 8;
#pragma unroll
    for (int k = 0; k < S::kStream / 16; ++k) {
      // Two blocks of sums side by side are what mma takes as its left matrix.
      unsigned a[S::kMatrices][4];
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float* pair = &weights[m][k * 2 + i / 2][i % 2 * 2];
          a[m][i] = motion_lab::cuda::packed<Element>(pair[0], pair[1]);
        }
#pragma unroll
      for (int n = 0; n < kColumns / 16; ++n) {
        unsigned b[4];
        motion_lab::cuda::load_matrices<true>(b, other + k * 16 * S::kPitch + n * 16);
#pragma unroll
        for (int m = 0; m < S::kMatrices; ++m) {
          motion_lab::cuda::mma<Element>(sums[m][n * 2], a[m], b);
          motion_lab::cuda::mma<Element>(sums[m][n * 2 + 1], a[m], b + 2);
        }
      }
    }
  } else {
    __syncwarp();  // the lanes have read what was there
    for_each_element<S, S::kStream>([&](int m, int n, int i) {
      const int row = m * 16 + i / 2 * 8 + lane_row();
      through[row * S::kWeightPitch + n * 8 + lane_column() + i % 2] = weights[m][n][i];
    });
    __syncwarp();
    const float* other = others + lane_column();
#pragma unroll 1
    for (int k = 0; k < S::kStream; k += 2) {
      float a[S::kMatrices][2][2];
#pragma unroll
      for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const auto two = *reinterpret_cast<const float2*>(
              through + (m * 16 + half * 8 + lane_row()) * S::kWeightPitch + k);
          a[m][half][0] = two.x;
          a[m][half][1] = two.y;
        }
#pragma unroll
      for (int j = 0; j < 2; ++j)
#pragma unroll
        for (int n = 0; n < kColumns / 8; ++n) {
          const auto b = *reinterpret_cast<const float2*>(other + (k + j) * S::kPitch + n * 8);
#pragma unroll
          for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              sums[m][n][half * 2] += a[m][half][j] * b.x;
              sums[m][n][half * 2 + 1] += a[m][half][j] * b.y;
            }
        }
    }
  }
}

// Starts to copy the words of kCount tokens; none past the last token.
template <class S, int kCount>
__device__ void fetch_words(uint64_t* to, const Tokens& tokens, int64_t begin) {
  static_assert(kCount <= S::kThreads, "a thread for each word");
  const int i = threadIdx.x;
  if (i >= kCount) return;
  const bool there = begin + i < tokens.length;
  const int64_t* source =
      there ? tokens.words + tokens.place(begin + i) * tokens.word_stride : tokens.words;
  copy_async<8>(to + i, source, there ? 8 : 0);
}

// Gives the pairs that share no bit the value `none`. own: the words of the block's rows.
template <class S>
__device__ void forbid(Part<S, S::kStream>& values, const uint64_t* own, const uint64_t* streamed,
                       float none) {
  for_each_element<S, S::kStream>([&](int m, int n, int i) {
    if ((own[row_of<S>(m, i / 2)] & streamed[n * 8 + lane_column() + i % 2]) == 0)
      values[m][n][i] = none;
  });
}

// Writes a lane's part of the block's rows, each times its factor, from the given channel on.
template <class S, int kColumns>
__device__ void write_rows(const Head<typename S::Element>& to, const Tokens& tokens, int64_t begin,
                           int first, int size, const Part<S, kColumns>& sums,
                           const PerRow<S>& factors) {
  using Element = typename S::Element;
#pragma unroll
  for (int m = 0; m < S::kMatrices; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t token = begin + row_of<S>(m, half);
      if (token >= tokens.length) continue;
      Element* row = to.data + tokens.place(token) * to.token;
#pragma unroll
      for (int n = 0; n < kColumns / 8; ++n) {
        const int channel = first + n * 8 + lane_column();
        const float value = sums[m][n][half * 2] * factors[m][half];
        const float next = sums[m][n][half * 2 + 1] * factors[m][half];
        if (to.wide && channel + 1 < size) {
          if constexpr (S::kTensorCores)
            *reinterpret_cast<unsigned*>(row + channel) =
                motion_lab::cuda::packed<Element>(value, next);
          else
            *reinterpret_cast<float2*>(row + channel) = make_float2(value, next);
        } else {
          if (channel < size) row[channel * to.channel] = Element(value);
          if (channel + 1 < size) row[(channel + 1) * to.channel] = Element(next);
        }
      }
    }
}

}  // namespace motion_lab::region_attention::cuda
