// Runs CUDA kernels on the CPU, for tests: the unchanged .cu files, compiled by the host's compiler
// against include/cuda_runtime.h. A block's threads are fibers; blocks run one after another. What
// a GPU hides is a Fault here: divergent barriers, shuffles among lanes that are not there,
// races, shared memory read before it is written, and access outside the tensors of the call.
//
// Loads and stores are seen through the calls that -fsanitize=thread puts before each of them
// (hooks.cpp). Under AddressSanitizer those calls are absent, and it watches memory instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>

#include "common/tensor.h"
#include "simt/memory.h"

namespace motion_lab::simt {

// A kernel did what it must not do. The text says what, in which kernel, block, thread and line.
class Fault : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Index {
  unsigned x, y, z;
};

// While it lives, kernels may touch the tensors exposed and no others.
class Call {
 public:
  Call() = default;
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
};
void expose(const Tensor& tensor);

// Runs `thread` once for every thread of every block. Throws Fault.
void launch(const void* kernel, const Index& grid, const Index& block, size_t dynamic_shared_bytes,
            const std::function<void()>& thread);

// The rest is called by kernels, through include/cuda_runtime.h.

// Where in the source a barrier or an exchange stands.
struct Site {
  const char* what;
  const char* file;
  int line;
};

// Waits for all threads of the block. Returns the sum of their values.
int meet_block(const Site& site, int value);

// Waits for the lanes in `mask`. Returns those that took part; what they brought is asked for one
// by one. Only __syncwarp orders accesses to memory.
enum class Exchange { values, memory };
unsigned meet_warp(const Site& site, unsigned mask, Exchange exchange, uint64_t value);
uint64_t value_of(unsigned lane);

// Waits for all lanes of the warp. The last to come does `work` on what they brought, while the
// others wait: what a warp does as one.
using Work = void (*)(void* const* brought);
void work_as_warp(const Site& site, Work work, void* own);

// Asks for bytes to be copied, and zeros after them up to `room`. They are there once the thread
// has waited for its copies; a GPU may write them at any time until then.
void copy_later(void* to, const void* from, size_t bytes, size_t room, const void* code);
void wait_for_copies();

// The lane that calls, and those of its warp that have not left the kernel.
unsigned lane();
unsigned lanes_alive();

[[noreturn]] void fail(const Site& site, const std::string& what);

// Whether a kernel runs now, and which one, with its block and thread.
bool running();
std::string place();

void note_access(const void* address, size_t bytes, Access kind, const void* code);
void fence();
void* dynamic_shared();

}  // namespace motion_lab::simt
