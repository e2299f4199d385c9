// Tensors as the kernels see them: a pointer, sizes, strides and a type; nobody's memory is owned.
#pragma once

#include <cstdint>

#include "common/dtype.h"
#include "common/error.h"

namespace motion_lab {

constexpr int kMaxDims = 8;

// A tensor of any type and rank; an absent optional argument has no data. Strides in elements.
struct Tensor {
  void* data = nullptr;
  DType dtype = DType::float32;
  int dims = 0;
  int64_t size[kMaxDims] = {};
  int64_t stride[kMaxDims] = {};

  explicit operator bool() const { return data != nullptr; }

  int64_t count() const {
    int64_t product = 1;
    for (int i = 0; i < dims; ++i) product *= size[i];
    return product;
  }

  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
};

// A tensor of known type and rank, indexed by position: view(batch, channel, time).
template <class T, int N>
struct View {
  T* data = nullptr;
  int64_t size[N] = {};
  int64_t stride[N] = {};

  View() = default;
  // An absent tensor gives an empty view, which converts to false.
  explicit View(const Tensor& tensor) {
    if (!tensor) return;
    check(tensor.dims == N, "kernel called with a tensor of the wrong rank");
    data = static_cast<T*>(tensor.data);
    for (int i = 0; i < N; ++i) {
      size[i] = tensor.size[i];
      stride[i] = tensor.stride[i];
    }
  }

  explicit operator bool() const { return data != nullptr; }

  template <class... Index>
  T& operator()(Index... index) const {
    static_assert(sizeof...(Index) == N, "one index per dimension");
    const int64_t at[] = {static_cast<int64_t>(index)...};
    int64_t offset = 0;
    for (int i = 0; i < N; ++i) offset += at[i] * stride[i];
    return data[offset];
  }
};

// Calls body(T{}) with the C++ type of a floating-point code.
template <class Body>
void dispatch_floating(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::float32:
      return body(float{});
    case DType::float64:
      return body(double{});
    case DType::bfloat16:
      return body(BFloat16{});
    case DType::float16:
      return body(Float16{});
    default:
      check(false, "kernel called with a dtype that is not floating point");
  }
}

}  // namespace motion_lab
