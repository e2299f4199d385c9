// Loops over threads. Work is cut the same way for the same count and number of threads, so results
// that depend on the cut are still reproducible.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

#if defined(_OPENMP)
#include <omp.h>
#endif

namespace motion_lab {

// Calls body(begin, end, part) for consecutive ranges that cover [0, count), at most one per
// thread.
template <class Body>
void parallel_ranges(int64_t count, int threads, Body&& body) {
  const int parts = static_cast<int>(std::min<int64_t>(count, std::max(threads, 1)));
  if (parts <= 1) {
    if (count > 0) body(int64_t{0}, count, 0);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    try {
      const int64_t share = count / parts, rest = count % parts;
      const int64_t begin = part * share + std::min<int64_t>(part, rest);
      body(begin, begin + share + (part < rest ? 1 : 0), part);
    } catch (...) {
#pragma omp critical(motion_lab_failure)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

// Calls body(i) once for every i of [0, count); which thread runs which i is not fixed, so the
// bodies must write to different places.
template <class Body>
void parallel_for(int64_t count, int threads, Body&& body) {
  const int parts = static_cast<int>(std::min<int64_t>(count, std::max(threads, 1)));
  if (parts <= 1) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel for num_threads(parts) schedule(dynamic, 1)
  for (int64_t i = 0; i < count; ++i) {
    try {
      body(i);
    } catch (...) {
#pragma omp critical(motion_lab_failure)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace motion_lab
