// Cooperative threads of execution: each has a stack of its own and runs until it gives control
// back. One runs at a time, all on the calling thread.
#pragma once

#include <csetjmp>
#include <cstddef>
#include <functional>
#include <vector>

namespace motion_lab::simt {

class Fibers {
 public:
  // `body` is what a fiber runs, again and again: when it returns the fiber gives control back,
  // and its next resume() starts it anew.
  explicit Fibers(std::function<void()> body);
  ~Fibers();

  // Makes fibers 0 .. count-1 ready to be started; earlier ones may be anywhere in their bodies.
  void reset(int count);

  // Runs fiber i from its start, or from where it gave control back. Called outside fibers.
  void resume(int i);

  // Back to the caller of resume(). Called in a fiber.
  void yield();

  // Ends resume() from anywhere in a fiber, for good: only reset() makes that fiber usable again.
  [[noreturn]] void abandon();

  // The fiber in control, or -1.
  int current() const { return current_; }

  // Whether an address lies on the stack of the fiber in control, or of any fiber.
  bool on_current_stack(const void* address) const {
    return address >= stack_begin_ && address < stack_end_;
  }
  bool on_any_stack(const void* address) const {
    return address >= memory_ && address < memory_end_;
  }

 private:
  struct Fiber;

  static void enter(unsigned high, unsigned low);
  void run();

  std::function<void()> body_;
  std::vector<Fiber> fibers_;
  char* memory_ = nullptr;
  char* memory_end_ = nullptr;
  const char* stack_begin_ = nullptr;
  const char* stack_end_ = nullptr;
  int current_ = -1;
  std::jmp_buf caller_;
  void* caller_fake_stack_ = nullptr;
  const void* caller_stack_ = nullptr;
  size_t caller_stack_bytes_ = 0;
};

}  // namespace motion_lab::simt
