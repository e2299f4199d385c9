// The instructions of tensor cores and of copies into shared memory, each behind a function; under
// simt with a version for the host. All lanes of a warp call the first two together. Included by
// cuda*.cu files only.
//
// A warp holds a matrix in parts. Of 8 x 8 elements of 16 bits, lane i has those of row i / 4 and
// columns 2 (i % 4) and the next, packed in a word; of 16 x 8 sums in float32, the same columns of
// rows i / 4 and i / 4 + 8, in this order.
#pragma once

#include "common/cuda.h"

namespace motion_lab::cuda {

#if defined(MOTION_LAB_SIMT)
namespace host {

// A function of its own, whose caller's line a fault is put down to.
template <int kRoom>
__attribute__((noinline, no_sanitize("thread"))) void copy(void* to, const void* from, int bytes) {
  simt::copy_later(to, from, bytes, kRoom, __builtin_return_address(0));
}

struct MmaPart {
  float* sums;
  const unsigned *a, *b;
};

// The lower half of a word.
inline float widened(unsigned word, __half) {
  return __half2float(__half(__half_raw{static_cast<uint16_t>(word)}));
}
inline float widened(unsigned word, __nv_bfloat16) { return __uint_as_float(word << 16); }

// Not the kernel's own code: it may touch the lanes' registers.
template <class T>
__attribute__((no_sanitize("thread"))) void multiply(void* const* parts) {
  float a[16][16], b[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& part = *static_cast<const MmaPart*>(parts[lane]);
    for (int i = 0; i < 2; ++i) {
      const int row = lane / 4, column = lane % 4 * 2 + i;
      for (int m = 0; m < 4; ++m)
        a[row + m % 2 * 8][column + m / 2 * 8] = widened(part.a[m] >> 16 * i, T());
      for (int m = 0; m < 2; ++m) b[column + m * 8][row] = widened(part.b[m] >> 16 * i, T());
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    float* sums = static_cast<const MmaPart*>(parts[lane])->sums;
    for (int i = 0; i < 4; ++i)
      for (int k = 0; k < 16; ++k)
        sums[i] += a[lane / 4 + i / 2 * 8][k] * b[k][lane % 4 * 2 + i % 2];
  }
}

}  // namespace host
#endif

// sums += a b: a 16 x 16 in parts of 8 x 8 (upper left, lower left, upper right, lower right), b
// 16 x 8 in parts (upper, lower), each of them transposed.
template <class T>
__device__ inline void mma(float (&sums)[4], const unsigned (&a)[4], const unsigned* b) {
#if defined(MOTION_LAB_SIMT)
  host::MmaPart part{sums, a, b};
  simt::work_as_warp({"mma", __FILE__, __LINE__}, host::multiply<T>, &part);
#else
  if constexpr (std::is_same_v<T, __half>)
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  else
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

// Four 8 x 8 matrices from shared memory. Lane i names where row i % 8 of matrix i / 8 begins, at
// a multiple of 16 bytes.
template <bool kTransposed>
__device__ inline void load_matrices(unsigned (&parts)[4], const void* row) {
#if defined(MOTION_LAB_SIMT)
  const simt::Site site{"ldmatrix", __FILE__, __LINE__};
  const auto address = reinterpret_cast<uintptr_t>(row);
  if (address % 16) simt::fail(site, "names a row that is not at a multiple of 16 bytes");
  simt::meet_warp(site, ~0u, simt::Exchange::values, address);
  const unsigned row_of_part = simt::lane() / 4, pair = simt::lane() % 4;
  const auto element = [](unsigned from, unsigned i) {
    return unsigned{reinterpret_cast<const uint16_t*>(simt::value_of(from))[i]};
  };
  for (unsigned m = 0; m < 4; ++m) {
    if constexpr (kTransposed)
      parts[m] = element(m * 8 + pair * 2, row_of_part) | element(m * 8 + pair * 2 + 1, row_of_part)
                                                              << 16;
    else
      parts[m] = reinterpret_cast<const unsigned*>(simt::value_of(m * 8 + row_of_part))[pair];
  }
#else
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(address)
                 : "memory");
#endif
}

// Starts a copy of `bytes` from global to shared memory, and of zeros after them up to kRoom (4, 8
// or 16): both sides aligned to kRoom. What is copied is there for this thread after
// wait_for_copies, and for others after a barrier.
template <int kRoom>
__device__ inline void copy_async(void* to, const void* from, int bytes) {
#if defined(MOTION_LAB_SIMT)
  host::copy<kRoom>(to, from, bytes);
#else
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
  // Sixteen bytes go past the first-level cache: others of the block do not need them.
  if constexpr (kRoom == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from),
                 "r"(bytes)
                 : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %3, %2;" ::"r"(address), "l"(from),
                 "r"(bytes), "n"(kRoom)
                 : "memory");
#endif
}

__device__ inline void wait_for_copies() {
#if defined(MOTION_LAB_SIMT)
  simt::wait_for_copies();
#else
  asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

// Two numbers as a word of 16-bit ones, the first in the lower half.
template <class T>
__device__ inline unsigned packed(float first, float second) {
  unsigned word;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(first, second);
    memcpy(&word, &pair, sizeof word);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
    memcpy(&word, &pair, sizeof word);
  }
  return word;
}

}  // namespace motion_lab::cuda
