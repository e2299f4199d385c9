// How tensors arrive from Python: None, or the tuple (address, dtype code, sizes, strides) that
// motion_lab/ops/_native.py makes of one.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "common/tensor.h"

#if defined(MOTION_LAB_SIMT)
#include "simt/simt.h"
#endif

namespace pybind11::detail {

template <>
struct type_caster<motion_lab::Tensor> {
  PYBIND11_TYPE_CASTER(motion_lab::Tensor, const_name("Tensor"));

  bool load(handle source, bool) {
    if (source.is_none()) {
      value = motion_lab::Tensor{};
      return true;
    }
    if (!PyTuple_Check(source.ptr()) || PyTuple_GET_SIZE(source.ptr()) != 4) return false;
    const auto item = [](PyObject* tuple, Py_ssize_t i) { return PyTuple_GET_ITEM(tuple, i); };
    PyObject* sizes = item(source.ptr(), 2);
    PyObject* strides = item(source.ptr(), 3);
    const Py_ssize_t dims = PyTuple_Check(sizes) ? PyTuple_GET_SIZE(sizes) : -1;
    if (dims < 0 || dims > motion_lab::kMaxDims || !PyTuple_Check(strides) ||
        PyTuple_GET_SIZE(strides) != dims)
      return false;
    value.data = PyLong_AsVoidPtr(item(source.ptr(), 0));
    value.dtype = static_cast<motion_lab::DType>(PyLong_AsLong(item(source.ptr(), 1)));
    value.dims = static_cast<int>(dims);
    for (Py_ssize_t i = 0; i < dims; ++i) {
      value.size[i] = PyLong_AsLongLong(item(sizes, i));
      value.stride[i] = PyLong_AsLongLong(item(strides, i));
    }
    if (PyErr_Occurred()) throw error_already_set();
#if defined(MOTION_LAB_SIMT)
    motion_lab::simt::expose(value);
#endif
    return true;
  }
};

}  // namespace pybind11::detail

namespace motion_lab {

namespace py = pybind11;
// What every binding is defined with: kernels run without Python's lock.
#if defined(MOTION_LAB_SIMT)
using KernelCall = py::call_guard<simt::Call>;  // one at a time
#else
using KernelCall = py::call_guard<py::gil_scoped_release>;
#endif

}  // namespace motion_lab
