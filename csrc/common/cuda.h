// What CUDA kernels share: the one way to launch, and reading and writing tensors of any float
// type. Included by cuda.cu files only.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <string>
#include <tuple>
#include <utility>

#include "common/tensor.h"

namespace motion_lab::cuda {

inline void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(error));
}

// Makes a device current, and the former one again at the end of the scope.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device) {
    check_cuda(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ != device) check_cuda(cudaSetDevice(device), "cudaSetDevice");
    changed_ = before_ != device;
  }
  ~DeviceGuard() {
    if (changed_) cudaSetDevice(before_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
  bool changed_ = false;
};

// Where kernels run: torch's current device and stream at the time of the call.
struct Place {
  int device;
  cudaStream_t stream;
};

// Launches and returns at once: no allocation and no synchronisation, so that calls can be captured
// in a CUDA graph. Every kernel starts here.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Place place,
            Arguments&&... arguments) {
  const DeviceGuard guard(place.device);
  std::tuple<Parameters...> values(std::forward<Arguments>(arguments)...);
  std::apply(
      [&](auto&... value) {
        // More than this has to be asked for.
        if (shared_bytes > 48 * 1024)
          check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                          static_cast<int>(shared_bytes)),
                     "asking for shared memory");
        void* pointers[] = {static_cast<void*>(&value)...};
        check_cuda(cudaLaunchKernel(kernel, grid, block, pointers, shared_bytes, place.stream),
                   "launching a kernel of motion_lab");
      },
      values);
}

// The shared memory that a launch asked for.
template <class T>
__device__ inline T* dynamic_shared() {
#if defined(MOTION_LAB_SIMT)
  return static_cast<T*>(simt::dynamic_shared());
#else
  extern __shared__ __align__(16) unsigned char motion_lab_dynamic_shared[];
  return reinterpret_cast<T*>(motion_lab_dynamic_shared);
#endif
}

// 2^x to two units in the last place, by the special-function unit alone; zero below 2^-126.
__device__ inline float exp2_approx(float x) {
#if defined(MOTION_LAB_SIMT)
  return std::exp2(x);
#else
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
#endif
}

// Tensor::as on the device.
template <class T>
__device__ inline T* data_of(const Tensor& tensor) {
  return static_cast<T*>(tensor.data);
}

// Element i of float32, bfloat16 or float16 data as float32. The type is the same for all threads.
__device__ inline float read_float(const void* data, DType dtype, int64_t i) {
  switch (dtype) {
    case DType::bfloat16:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i]);
    case DType::float16:
      return __half2float(static_cast<const __half*>(data)[i]);
    default:
      return static_cast<const float*>(data)[i];
  }
}

__device__ inline void write_float(void* data, DType dtype, int64_t i, float value) {
  switch (dtype) {
    case DType::bfloat16:
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(value);
      break;
    case DType::float16:
      static_cast<__half*>(data)[i] = __float2half_rn(value);
      break;
    default:
      static_cast<float*>(data)[i] = value;
  }
}

}  // namespace motion_lab::cuda
