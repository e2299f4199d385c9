// Kernels without a fault; test_simt.py works out by itself what they must give.
#include "common/cuda.h"
#include "common/mma.h"
#include "kernels.h"

namespace motion_lab::simt_tests {
namespace {

using motion_lab::cuda::data_of;
using motion_lab::cuda::dynamic_shared;

constexpr unsigned kAll = 0xffffffffu;

void launch(void (*kernel)(Tensor), dim3 grid, dim3 block, const Tensor& out,
            size_t shared_bytes = 0) {
  motion_lab::cuda::launch(kernel, grid, block, shared_bytes, {0, nullptr}, out);
}

// Every thread writes its number, worked out from all its indices.
__global__ void indices(Tensor out) {
  const int block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const int thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  const int threads = blockDim.x * blockDim.y * blockDim.z;
  data_of<int>(out)[block * threads + thread] = block * threads + thread;
}

// out (8, 32): what each lane gets from each kind of exchange.
__global__ void exchanges(Tensor out) {
  int* row = data_of<int>(out) + threadIdx.x;
  const int own = 100 + static_cast<int>(threadIdx.x);
  row[0] = __shfl_sync(kAll, own, 5);
  row[32] = __shfl_sync(kAll, own, 3, 8);
  row[64] = __shfl_up_sync(kAll, own, 2);
  row[96] = __shfl_down_sync(kAll, own, 3, 16);
  row[128] = __shfl_xor_sync(kAll, own, 9);
  row[160] = static_cast<int>(__ballot_sync(kAll, threadIdx.x % 3 == 0));
  row[192] = __reduce_add_sync(kAll, own);
  row[224] = __any_sync(kAll, threadIdx.x == 7) * 2 + __all_sync(kAll, threadIdx.x < 32);
}

// Halves of a warp exchange apart from each other, in turn and then together.
__global__ void exchanges_of_a_part(Tensor out) {
  const bool low = threadIdx.x < 16;
  const unsigned mask = low ? 0x0000ffffu : 0xffff0000u;
  float sum = static_cast<float>(threadIdx.x);
  if (low)
    for (int d = 8; d > 0; d /= 2) sum += __shfl_xor_sync(mask, sum, d);
  else
    sum = static_cast<float>(__popc(__ballot_sync(mask, threadIdx.x % 2)));
  data_of<float>(out)[threadIdx.x] = sum + __shfl_xor_sync(kAll, sum, 16);
}

// A tree of sums in dynamic shared memory, with a barrier at each level.
__global__ void block_sum(Tensor out) {
  double* staged = dynamic_shared<double>();
  staged[threadIdx.x] = threadIdx.x + 1.0;
  for (int half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half) staged[threadIdx.x] += staged[threadIdx.x + half];
  }
  if (threadIdx.x == 0) data_of<double>(out)[blockIdx.x] = staged[0];
}

__global__ void barriers_that_count(Tensor out) {
  const int odd = __syncthreads_count(threadIdx.x % 2);
  const int any = __syncthreads_or(threadIdx.x == 3);
  const int all = __syncthreads_and(threadIdx.x != 3);
  data_of<int>(out)[threadIdx.x] = odd * 100 + any * 10 + all;
}

// Each warp passes values on through shared memory with __syncwarp alone.
__global__ void warp_rotation(Tensor out) {
  __shared__ int staged[64];
  const int lane = threadIdx.x % 32, first = threadIdx.x - lane;
  int value = threadIdx.x;
  for (int turn = 0; turn < 3; ++turn) {
    staged[threadIdx.x] = value;
    __syncwarp();
    value = staged[first + (lane + 1) % 32];
    __syncwarp();
  }
  data_of<int>(out)[threadIdx.x] = value;
}

__global__ void atomics(Tensor out) {
  int* x = data_of<int>(out);
  atomicAdd(&x[0], 2);
  atomicMax(&x[1], static_cast<int>(threadIdx.x));
  atomicMin(&x[2], -static_cast<int>(threadIdx.x));
  atomicOr(&x[3], 1 << threadIdx.x % 4);
  if (threadIdx.x == 0) atomicExch(&x[4], 7);
  if (threadIdx.x == 9) atomicCAS(&x[5], 0, 9);
}

// The block that comes last adds up what all have written. out: blocks' sums, total, ticket.
__global__ void last_block(Tensor out) {
  __shared__ bool last;
  float* sums = data_of<float>(out);
  if (threadIdx.x == 0) {
    sums[blockIdx.x] = static_cast<float>(blockIdx.x + 1);
    __threadfence();
    last = atomicAdd(&sums[gridDim.x + 1], 1.0f) == static_cast<float>(gridDim.x - 1);
  }
  __syncthreads();
  if (!last || threadIdx.x) return;
  __threadfence();
  float total = 0.0f;
  for (unsigned i = 0; i < gridDim.x; ++i) total += sums[i];
  sums[gridDim.x] = total;
}

// Neighbouring 16-bit values, written by different threads.
__global__ void halves(Tensor out) {
  const __half x = __float2half_rn(0.1f * static_cast<float>(threadIdx.x));
  data_of<__half>(out)[threadIdx.x] = __hadd(x, __shfl_xor_sync(kAll, x, 1));
}

// Vectors where they are aligned.
__global__ void vectors(Tensor out) {
  auto* v = data_of<float4>(out);
  const float4 before = v[threadIdx.x];
  v[threadIdx.x] = make_float4(before.w, before.z, before.y, before.x);
}

// An element of a strided tensor each, and no other.
__global__ void strided(Tensor out) {
  for (int64_t i = threadIdx.x; i < out.size[0]; i += blockDim.x)
    data_of<float>(out)[i * out.stride[0]] += 1.0f;
}

// out (16 x 8) += a b, with a (16 x 16) and b (16 x 8) in bfloat16, by the tensor cores' path.
__global__ void matrix_product(Tensor out, Tensor a, Tensor b) {
  __shared__ uint4 staged[32];  // rows of eight numbers
  const int lane = threadIdx.x, row = lane / 4, column = lane % 4 * 2;
  // The halves of a's rows one after the other, so that eight rows of each are a matrix.
  const auto* rows = data_of<__nv_bfloat16>(a);
  motion_lab::cuda::copy_async<16>(&staged[lane], rows + lane % 16 * 16 + lane / 16 * 8, 16);
  motion_lab::cuda::wait_for_copies();
  __syncthreads();
  unsigned left[4], right[4];
  motion_lab::cuda::load_matrices<false>(left, &staged[lane]);
  __syncthreads();
  // Of b's last row two elements are left out, and the rows past its end are zeros.
  const int bytes = lane < 15 ? 16 : lane == 15 ? 12 : 0;
  motion_lab::cuda::copy_async<16>(&staged[lane], data_of<__nv_bfloat16>(b) + lane % 16 * 8, bytes);
  motion_lab::cuda::wait_for_copies();
  __syncthreads();
  motion_lab::cuda::load_matrices<true>(right, &staged[lane]);
  float* to = data_of<float>(out);
  float sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = to[(row + i / 2 * 8) * 8 + column + i % 2];
  motion_lab::cuda::mma<__nv_bfloat16>(sums, left, right);
  motion_lab::cuda::mma<__nv_bfloat16>(sums, left, right + 2);  // zeros
  for (int i = 0; i < 4; ++i) to[(row + i / 2 * 8) * 8 + column + i % 2] = sums[i];
}

}  // namespace

Kernels right_kernels() {
#define KERNEL(name, ...)                                                        \
  {                                                                              \
    #name, [](const std::vector<Tensor>& tensors) { launch(name, __VA_ARGS__); } \
  }
  return {
      KERNEL(indices, dim3(3, 2, 2), dim3(4, 3, 5), tensors[0]),
      KERNEL(exchanges, 1, 32, tensors[0]),
      KERNEL(exchanges_of_a_part, 1, 32, tensors[0]),
      KERNEL(block_sum, 3, 1024, tensors[0], 1024 * sizeof(double)),
      KERNEL(barriers_that_count, 1, 50, tensors[0]),
      KERNEL(warp_rotation, 1, 64, tensors[0]),
      KERNEL(atomics, 2, 40, tensors[0]),
      KERNEL(last_block, 4, 64, tensors[0]),
      KERNEL(halves, 1, 32, tensors[0]),
      KERNEL(vectors, 1, 3, tensors[0]),
      KERNEL(strided, 1, 32, tensors[0]),
      {"matrix_product",
       [](const std::vector<Tensor>& tensors) {
         motion_lab::cuda::launch(matrix_product, 1, 32, 0, {0, nullptr}, tensors[0], tensors[1],
                                  tensors[2]);
       }},
  };
#undef KERNEL
}

}  // namespace motion_lab::simt_tests
