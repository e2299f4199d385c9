// Takes the place of the toolkit's header of this name when .cu files are compiled for the CPU:
// the language that nvcc adds to C++, as far as the kernels of this project speak it. What is
// missing here does not compile, and belongs here then.
#pragma once

#include <cuda_runtime_api.h>
#include <vector_functions.h>
#include <vector_types.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "simt/simt.h"

// __global__, __device__ and the like are nothing to a host's compiler, by crt/host_defines.h.
// Shared variables are thread-local: the executor then knows where they lie. AddressSanitizer
// guards only static ones.
#define __launch_bounds__(...)
#undef __shared__
#if defined(__SANITIZE_ADDRESS__)
#define __shared__ static
#else
#define __shared__ static thread_local
#endif

namespace motion_lab::simt {

extern const Index thread_index, block_index, block_size, grid_size;

#define MOTION_LAB_SITE(name) {name, file, line}
#define MOTION_LAB_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
// Code that must not be seen by the executor, since it is not the kernel's.
#define MOTION_LAB_UNSEEN __attribute__((no_sanitize("thread"), no_sanitize("alignment")))

template <class... Parameters, size_t... I>
MOTION_LAB_UNSEEN void call(void (*kernel)(Parameters...), void** arguments,
                            std::index_sequence<I...>) {
  kernel(*static_cast<Parameters*>(arguments[I])...);
}

template <class T>
uint64_t bits_of(T value) {
  static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= 8, "a lane brings up to 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(static_cast<void*>(&value), &bits, sizeof value);
  return value;
}

// The shuffles differ in how a lane's source follows from its place in its segment.
template <class T, class Source>
T shuffle(const Site& site, unsigned mask, T value, int width, Source source) {
  if (width < 1 || width > 32 || (width & (width - 1)))
    fail(site, "has a width that is not a power of two up to 32: " + std::to_string(width));
  const int lane = static_cast<int>(simt::lane()), segment = lane & ~(width - 1);
  const unsigned present = meet_warp(site, mask, Exchange::values, bits_of(value));
  const int from = source(lane, segment);
  if (!(present >> from & 1u))
    fail(site, "reads lane " + std::to_string(from) + ", which takes no part");
  return from_bits<T>(value_of(from));
}

template <class T, class Combine>
T reduce(const Site& site, unsigned mask, T value, Combine combine) {
  unsigned lanes = meet_warp(site, mask, Exchange::values, bits_of(value));
  T result = from_bits<T>(value_of(__builtin_ctz(lanes)));
  for (lanes &= lanes - 1; lanes; lanes &= lanes - 1)
    result = combine(result, from_bits<T>(value_of(__builtin_ctz(lanes))));
  return result;
}

// One step that no other thread can come between, since only one runs.
template <class T, class Update>
__attribute__((noinline)) MOTION_LAB_UNSEEN T atomic(T* address, Update update) {
  note_access(address, sizeof(T), Access::update, __builtin_return_address(0));
  const T before = *address;
  *address = update(before);
  return before;
}

}  // namespace motion_lab::simt

#define threadIdx (::motion_lab::simt::thread_index)
#define blockIdx (::motion_lab::simt::block_index)
#define blockDim (::motion_lab::simt::block_size)
#define gridDim (::motion_lab::simt::grid_size)
constexpr int warpSize = 32;

template <class... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** arguments,
                             size_t shared_bytes, cudaStream_t) {
  motion_lab::simt::launch(reinterpret_cast<const void*>(kernel), {grid.x, grid.y, grid.z},
                           {block.x, block.y, block.z}, shared_bytes, [&]() MOTION_LAB_UNSEEN {
                             motion_lab::simt::call(kernel, arguments,
                                                    std::index_sequence_for<Parameters...>());
                           });
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;  // there is as much shared memory as on any GPU
}

// Barriers.

inline void __syncthreads(MOTION_LAB_HERE) {
  motion_lab::simt::meet_block(MOTION_LAB_SITE("__syncthreads"), 0);
}
inline int __syncthreads_count(int predicate, MOTION_LAB_HERE) {
  return motion_lab::simt::meet_block(MOTION_LAB_SITE("__syncthreads_count"), predicate != 0);
}
inline int __syncthreads_or(int predicate, MOTION_LAB_HERE) {
  return motion_lab::simt::meet_block(MOTION_LAB_SITE("__syncthreads_or"), predicate != 0) != 0;
}
inline int __syncthreads_and(int predicate, MOTION_LAB_HERE) {
  return motion_lab::simt::meet_block(MOTION_LAB_SITE("__syncthreads_and"), predicate == 0) == 0;
}
inline void __syncwarp(unsigned mask = ~0u, MOTION_LAB_HERE) {
  motion_lab::simt::meet_warp(MOTION_LAB_SITE("__syncwarp"), mask,
                              motion_lab::simt::Exchange::memory, 0);
}
inline void __threadfence() { motion_lab::simt::fence(); }
inline void __threadfence_block() {}

// Exchanges within a warp.

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, MOTION_LAB_HERE) {
  return motion_lab::simt::shuffle(
      MOTION_LAB_SITE("__shfl_sync"), mask, value, width,
      [=](int, int segment) { return segment + (source & (width - 1)); });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, MOTION_LAB_HERE) {
  return motion_lab::simt::shuffle(
      MOTION_LAB_SITE("__shfl_up_sync"), mask, value, width, [=](int lane, int segment) {
        return lane - static_cast<int>(delta) < segment ? lane : lane - static_cast<int>(delta);
      });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, MOTION_LAB_HERE) {
  return motion_lab::simt::shuffle(MOTION_LAB_SITE("__shfl_down_sync"), mask, value, width,
                                   [=](int lane, int segment) {
                                     const int from = lane + static_cast<int>(delta);
                                     return from >= segment + width ? lane : from;
                                   });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, MOTION_LAB_HERE) {
  return motion_lab::simt::shuffle(MOTION_LAB_SITE("__shfl_xor_sync"), mask, value, width,
                                   [=](int lane, int segment) {
                                     const int from = lane ^ lanes;
                                     return from >= segment + width ? lane : from;
                                   });
}
inline unsigned __ballot_sync(unsigned mask, int predicate, MOTION_LAB_HERE) {
  const unsigned bit = predicate ? 1u << motion_lab::simt::lane() : 0;
  return motion_lab::simt::reduce(MOTION_LAB_SITE("__ballot_sync"), mask, bit,
                                  [](unsigned a, unsigned b) { return a | b; });
}
inline int __any_sync(unsigned mask, int predicate, MOTION_LAB_HERE) {
  return motion_lab::simt::reduce(MOTION_LAB_SITE("__any_sync"), mask, int{predicate != 0},
                                  [](int a, int b) { return a | b; });
}
inline int __all_sync(unsigned mask, int predicate, MOTION_LAB_HERE) {
  return motion_lab::simt::reduce(MOTION_LAB_SITE("__all_sync"), mask, int{predicate != 0},
                                  [](int a, int b) { return a & b; });
}
template <class T>
T __reduce_add_sync(unsigned mask, T value, MOTION_LAB_HERE) {
  return motion_lab::simt::reduce(MOTION_LAB_SITE("__reduce_add_sync"), mask, value,
                                  [](T a, T b) { return a + b; });
}
template <class T>
T __reduce_max_sync(unsigned mask, T value, MOTION_LAB_HERE) {
  return motion_lab::simt::reduce(MOTION_LAB_SITE("__reduce_max_sync"), mask, value,
                                  [](T a, T b) { return a > b ? a : b; });
}
template <class T>
T __reduce_or_sync(unsigned mask, T value, MOTION_LAB_HERE) {
  return motion_lab::simt::reduce(MOTION_LAB_SITE("__reduce_or_sync"), mask, value,
                                  [](T a, T b) { return a | b; });
}
inline unsigned __activemask() { return motion_lab::simt::lanes_alive(); }

// Atomics.

template <class T>
T atomicAdd(T* address, T value) {
  return motion_lab::simt::atomic(address, [=](T old) { return old + value; });
}
template <class T>
T atomicMax(T* address, T value) {
  return motion_lab::simt::atomic(address, [=](T old) { return old > value ? old : value; });
}
template <class T>
T atomicMin(T* address, T value) {
  return motion_lab::simt::atomic(address, [=](T old) { return old < value ? old : value; });
}
template <class T>
T atomicOr(T* address, T value) {
  return motion_lab::simt::atomic(address, [=](T old) { return old | value; });
}
template <class T>
T atomicExch(T* address, T value) {
  return motion_lab::simt::atomic(address, [=](T) { return value; });
}
template <class T>
T atomicCAS(T* address, T expected, T value) {
  return motion_lab::simt::atomic(address, [=](T old) { return old == expected ? value : old; });
}

// Loads and stores with a wish for the cache.

template <class T>
T __ldg(const T* address) {
  return *address;
}
template <class T>
T __ldcs(const T* address) {
  return *address;
}
template <class T>
void __stcs(T* address, T value) {
  *address = value;
}

// Arithmetic.

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline unsigned __float_as_uint(float x) {
  return static_cast<unsigned>(motion_lab::simt::bits_of(x));
}
inline float __uint_as_float(unsigned x) { return motion_lab::simt::from_bits<float>(x); }

// Of a number and a NaN both give the number.
template <class A, class B>
std::common_type_t<A, B> min(A a, B b) {
  if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>) return std::fmin(a, b);
  return b < a ? b : a;
}
template <class A, class B>
std::common_type_t<A, B> max(A a, B b) {
  if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>) return std::fmax(a, b);
  return a < b ? b : a;
}

#undef MOTION_LAB_HERE
#undef MOTION_LAB_SITE
#undef MOTION_LAB_UNSEEN
