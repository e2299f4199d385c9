// One fault a kernel. The line that must be named ends in a comment with the word "fault".
#include "common/cuda.h"
#include "common/mma.h"
#include "kernels.h"

namespace motion_lab::simt_tests {
namespace {

constexpr unsigned kAll = 0xffffffffu;

struct Floats {
  float* data;
  int count;
};

void launch(void (*kernel)(Floats), int blocks, int threads, const Tensor& tensor,
            size_t shared_bytes = 0) {
  motion_lab::cuda::launch(kernel, dim3(blocks), dim3(threads), shared_bytes, {0, nullptr},
                           Floats{tensor.as<float>(), static_cast<int>(tensor.count())});
}

__global__ void barrier_in_a_branch(Floats x) {
  if (threadIdx.x < 40) __syncthreads();  // fault
  x.data[threadIdx.x] = 1.0f;
}

__global__ void two_barriers(Floats x) {
  if (threadIdx.x % 2)
    __syncthreads();
  else
    __syncthreads();  // fault: or the other one
  x.data[threadIdx.x] = 1.0f;
}

__global__ void barrier_after_an_exit(Floats x) {
  if (threadIdx.x == 5) return;
  __syncthreads();  // fault
  x.data[threadIdx.x] = 1.0f;
}

__global__ void shuffle_outside_the_mask(Floats x) {
  x.data[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 0);  // fault
}

__global__ void shuffle_from_a_lane_outside_the_mask(Floats x) {
  if (threadIdx.x < 16) x.data[threadIdx.x] = __shfl_down_sync(0x0000ffffu, 1.0f, 4);  // fault
}

__global__ void shuffle_from_a_lane_that_left(Floats x) {
  if (threadIdx.x >= 20) return;
  x.data[threadIdx.x] = __shfl_xor_sync(kAll, 1.0f, 16);  // fault
}

__global__ void shuffle_from_a_lane_that_is_not_there(Floats x) {
  x.data[threadIdx.x] = __shfl_down_sync(kAll, 1.0f, 1);  // fault, with 20 threads
}

__global__ void vote_outside_the_mask(Floats x) {
  x.data[threadIdx.x] = static_cast<float>(__ballot_sync(0xfffffffeu, 1));  // fault
}

__global__ void vote_with_a_lane_that_left(Floats x) {
  if (threadIdx.x == 3) return;
  x.data[threadIdx.x] = static_cast<float>(__any_sync(kAll, 1));  // fault
}

__global__ void exchanges_that_do_not_match(Floats x) {
  if (threadIdx.x < 16)
    x.data[threadIdx.x] = __shfl_sync(kAll, 1.0f, 0);
  else
    x.data[threadIdx.x] = static_cast<float>(__any_sync(kAll, 1));  // fault
}

__global__ void exchanges_in_a_circle(Floats x) {
  const unsigned own = 1u << threadIdx.x;
  // 0 waits for 1, 1 for 2, and 2 for 0.
  if (threadIdx.x < 3)
    x.data[threadIdx.x] = __any_sync(own | 1u << (threadIdx.x + 1) % 3, 1);  // fault
}

__global__ void static_shared_index_too_large(Floats x) {
  __shared__ float staged[32];
  staged[threadIdx.x + 1] = x.data[threadIdx.x];  // fault
  __syncthreads();
  x.data[threadIdx.x] = staged[threadIdx.x];
}

__device__ inline void fill(float* staged, int i) {
  staged[i] = 1.0f;  // fault
}
__global__ void static_shared_overrun(Floats x) {
  __shared__ float staged[32];
  fill(staged, threadIdx.x + 1);
  __syncthreads();
  x.data[threadIdx.x] = staged[threadIdx.x];
}

// Where the compiler cannot know the variable, only AddressSanitizer sees it.
__device__ __attribute__((noinline)) void fill_somewhere(float* staged, int i) {
  staged[i] = 1.0f;  // fault
}
__global__ void static_shared_overrun_elsewhere(Floats x) {
  __shared__ float staged[32];
  fill_somewhere(staged, threadIdx.x + 1);
  __syncthreads();
  x.data[threadIdx.x] = staged[threadIdx.x];
}

__global__ void dynamic_shared_overrun(Floats x) {
  float* staged = motion_lab::cuda::dynamic_shared<float>();
  staged[threadIdx.x + 1] = x.data[threadIdx.x];  // fault
}

__global__ void unwritten_shared(Floats x) {
  __shared__ float staged[32];
  if (threadIdx.x != 7) staged[threadIdx.x] = 1.0f;
  __syncthreads();
  x.data[threadIdx.x] = staged[threadIdx.x];  // fault
}

__global__ void shared_of_the_block_before(Floats x) {
  __shared__ float staged[32];
  if (blockIdx.x == 0) staged[threadIdx.x] = 1.0f;
  __syncthreads();
  x.data[blockIdx.x * 32 + threadIdx.x] = staged[threadIdx.x];  // fault
}

__global__ void read_before_a_barrier(Floats x) {
  __shared__ float staged[64];
  staged[threadIdx.x] = x.data[threadIdx.x];
  x.data[threadIdx.x] = staged[threadIdx.x ^ 32];  // fault
}

__global__ void read_in_place(Floats x) {
  __shared__ float staged[64];
  staged[threadIdx.x] = x.data[threadIdx.x];
  __syncthreads();
  staged[threadIdx.x] = 2.0f * staged[threadIdx.x ^ 32];  // fault
}

__global__ void write_before_a_barrier(Floats x) {
  __shared__ float staged[64];
  staged[threadIdx.x] = x.data[threadIdx.x];
  __syncthreads();
  x.data[threadIdx.x] = staged[63 - threadIdx.x];  // fault: or the next line
  staged[threadIdx.x] = 0.0f;                      // fault
}

__global__ void two_writers(Floats x) {
  __shared__ float staged[32];
  staged[threadIdx.x / 2] = 1.0f;  // fault
  __syncthreads();
  x.data[threadIdx.x] = staged[threadIdx.x / 2];
}

// Lanes of one warp run as they like, and a shuffle orders nothing.
__global__ void shuffle_for_a_barrier(Floats x) {
  __shared__ float staged[32];
  staged[threadIdx.x] = x.data[threadIdx.x];
  __shfl_sync(kAll, 0, 0);
  x.data[threadIdx.x] = staged[31 - threadIdx.x];  // fault
}

__global__ void atomic_beside_a_plain_write(Floats x) {
  __shared__ float sum;
  if (threadIdx.x == 0) sum = 0.0f;
  atomicAdd(&sum, 1.0f);  // fault
  __syncthreads();
  x.data[threadIdx.x] = sum;
}

__global__ void blocks_that_share_an_element(Floats x) {
  x.data[threadIdx.x] = static_cast<float>(blockIdx.x);  // fault
}

// The second block has read it as well, before it writes.
__global__ void write_of_what_another_block_read(Floats x) {
  const float read = x.data[threadIdx.x];
  if (blockIdx.x == 0)
    x.data[32 + threadIdx.x] = read;
  else
    x.data[threadIdx.x] = read + 1.0f;  // fault
}

__global__ void misaligned_vector(Floats x) {
  auto* vectors = reinterpret_cast<float4*>(x.data + 1);
  vectors[threadIdx.x].x = 1.0f;  // fault
}

__global__ void misaligned_whole_vector(Floats x) {
  const auto* vectors = reinterpret_cast<const float4*>(x.data + 1);
  const float4 v = vectors[threadIdx.x];  // fault
  x.data[threadIdx.x] = v.x + v.w;
}

__global__ void read_past_the_end(Floats x) {
  x.data[threadIdx.x] = x.data[x.count - 16 + threadIdx.x];  // fault
}

__global__ void write_before_the_start(Floats x) {
  x.data[static_cast<int>(threadIdx.x) - 1] = 0.0f;  // fault
}

__global__ void write_between_the_elements(Floats x) {
  x.data[threadIdx.x] = 0.0f;  // fault, with strides of 2
}

__global__ void null_pointer(Floats x) {
  float* nothing = x.count < 0 ? x.data : nullptr;
  nothing[threadIdx.x] = 1.0f;  // fault
}

__global__ void local_of_another_thread(Floats x) {
  __shared__ float* pointer;
  float own = 1.0f;
  if (threadIdx.x == 0) pointer = &own;
  __syncthreads();
  x.data[threadIdx.x] = *pointer;  // fault
}

__global__ void copy_into_what_is_read(Floats x) {
  __shared__ float staged[64];
  staged[threadIdx.x] = 1.0f;
  __syncthreads();
  const float other = staged[threadIdx.x ^ 32];  // fault: what the copy may have changed
  motion_lab::cuda::copy_async<4>(&staged[threadIdx.x], &x.data[threadIdx.x], 4);  // fault
  motion_lab::cuda::wait_for_copies();
  x.data[threadIdx.x] = other;
}

__global__ void misaligned_copy(Floats x) {
  __shared__ __align__(16) float staged[32];
  motion_lab::cuda::copy_async<8>(&staged[2], &x.data[1], 8);  // fault
  motion_lab::cuda::wait_for_copies();
  x.data[threadIdx.x] = staged[2];
}

}  // namespace

Kernels wrong_kernels() {
#define KERNEL(name, blocks, threads, ...)                                     \
  {                                                                            \
    #name, [](const std::vector<Tensor>& tensors) {                            \
      launch(name, blocks, threads, tensors.at(0) __VA_OPT__(, ) __VA_ARGS__); \
    }                                                                          \
  }
  return {
      KERNEL(barrier_in_a_branch, 1, 64),
      KERNEL(two_barriers, 1, 64),
      KERNEL(barrier_after_an_exit, 2, 64),
      KERNEL(shuffle_outside_the_mask, 1, 32),
      KERNEL(shuffle_from_a_lane_outside_the_mask, 1, 32),
      KERNEL(shuffle_from_a_lane_that_left, 1, 32),
      KERNEL(shuffle_from_a_lane_that_is_not_there, 1, 20),
      KERNEL(vote_outside_the_mask, 1, 32),
      KERNEL(vote_with_a_lane_that_left, 1, 32),
      KERNEL(exchanges_that_do_not_match, 1, 32),
      KERNEL(exchanges_in_a_circle, 1, 32),
      KERNEL(static_shared_index_too_large, 1, 32),
      KERNEL(static_shared_overrun, 1, 32),
      KERNEL(static_shared_overrun_elsewhere, 1, 32),
      KERNEL(dynamic_shared_overrun, 1, 32, 32 * sizeof(float)),
      KERNEL(unwritten_shared, 1, 32),
      KERNEL(shared_of_the_block_before, 2, 32),
      KERNEL(read_before_a_barrier, 1, 64),
      KERNEL(read_in_place, 1, 64),
      KERNEL(write_before_a_barrier, 1, 64),
      KERNEL(two_writers, 1, 32),
      KERNEL(shuffle_for_a_barrier, 1, 32),
      KERNEL(atomic_beside_a_plain_write, 1, 32),
      KERNEL(blocks_that_share_an_element, 2, 32),
      KERNEL(write_of_what_another_block_read, 2, 32),
      KERNEL(misaligned_vector, 1, 4),
      KERNEL(misaligned_whole_vector, 1, 4),
      KERNEL(read_past_the_end, 1, 32),
      KERNEL(write_before_the_start, 1, 32),
      KERNEL(write_between_the_elements, 1, 32),
      KERNEL(null_pointer, 1, 32),
      KERNEL(local_of_another_thread, 1, 32),
      KERNEL(copy_into_what_is_read, 1, 64),
      KERNEL(misaligned_copy, 1, 1),
  };
#undef KERNEL
}

}  // namespace motion_lab::simt_tests
