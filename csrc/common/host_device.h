// Maths written once for the CPU and CUDA kernels.
#pragma once

#if defined(__CUDACC__)
#define MOTION_LAB_HOST_DEVICE __host__ __device__ inline
#else
#define MOTION_LAB_HOST_DEVICE inline
#endif
