// longjmp between stacks is the point here; the fortified one takes it for an error.
#undef _FORTIFY_SOURCE
#include "simt/fiber.h"

#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdint>
#include <new>
#include <utility>

// AddressSanitizer must be told of every change of stack.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace motion_lab::simt {

namespace {

// Of address space; pages come into being as they are touched.
constexpr size_t kStackBytes = 256 * 1024;

}  // namespace

struct Fibers::Fiber {
  ucontext_t start;  // where a fresh fiber enters; later switches need no system call
  std::jmp_buf state;
  bool fresh = true;
  void* fake_stack = nullptr;
};

Fibers::Fibers(std::function<void()> body) : body_(std::move(body)) {}

Fibers::~Fibers() {
  if (memory_) munmap(memory_, static_cast<size_t>(memory_end_ - memory_));
}

void Fibers::reset(int count) {
  const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (static_cast<size_t>(count) > fibers_.size()) {
    if (memory_) munmap(memory_, static_cast<size_t>(memory_end_ - memory_));
    const size_t bytes = static_cast<size_t>(count) * kStackBytes;
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<char*>(memory);
    memory_end_ = memory_ + bytes;
    fibers_ = std::vector<Fiber>(static_cast<size_t>(count));
    // The lowest page of each stack is out of bounds: an overflow crashes instead of corrupting.
    for (int i = 0; i < count; ++i) mprotect(memory_ + i * kStackBytes, page, PROT_NONE);
  }
  for (int i = 0; i < count; ++i) {
    Fiber& fiber = fibers_[i];
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = memory_ + i * kStackBytes + page;
    fiber.start.uc_stack.ss_size = kStackBytes - page;
    fiber.start.uc_link = nullptr;
    const auto self = reinterpret_cast<uintptr_t>(this);
    makecontext(&fiber.start, reinterpret_cast<void (*)()>(&Fibers::enter), 2,
                static_cast<unsigned>(static_cast<uint64_t>(self) >> 32),
                static_cast<unsigned>(self));
    fiber.fresh = true;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(fiber.start.uc_stack.ss_sp, fiber.start.uc_stack.ss_size);
#endif
  }
}

// makecontext passes ints only.
void Fibers::enter(unsigned high, unsigned low) {
  const auto self = static_cast<uintptr_t>((static_cast<uint64_t>(high) << 32) | low);
  reinterpret_cast<Fibers*>(self)->run();
}

void Fibers::run() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &caller_stack_, &caller_stack_bytes_);
#endif
  for (;;) {
    body_();
    yield();
  }
}

void Fibers::resume(int i) {
  Fiber& fiber = fibers_[i];
  current_ = i;
  stack_begin_ = static_cast<const char*>(fiber.start.uc_stack.ss_sp);
  stack_end_ = stack_begin_ + fiber.start.uc_stack.ss_size;
  if (_setjmp(caller_) == 0) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&caller_fake_stack_, stack_begin_, fiber.start.uc_stack.ss_size);
#endif
    if (std::exchange(fiber.fresh, false)) setcontext(&fiber.start);
    _longjmp(fiber.state, 1);
  }
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(caller_fake_stack_, nullptr, nullptr);
#endif
  current_ = -1;
  stack_begin_ = stack_end_ = nullptr;
}

void Fibers::yield() {
  Fiber& fiber = fibers_[current_];
  if (_setjmp(fiber.state) == 0) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fiber.fake_stack, caller_stack_, caller_stack_bytes_);
#endif
    _longjmp(caller_, 1);
  }
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &caller_stack_, &caller_stack_bytes_);
#endif
}

void Fibers::abandon() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(nullptr, caller_stack_, caller_stack_bytes_);
#endif
  _longjmp(caller_, 1);
}

}  // namespace motion_lab::simt
