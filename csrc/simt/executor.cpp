#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "simt/fiber.h"
#include "simt/report.h"
#include "simt/simt.h"

namespace motion_lab::simt {

// include/cuda_runtime.h declares them as constants, which they are to each thread of a kernel.
Index thread_index, block_index, block_size, grid_size;

namespace {

constexpr uint64_t kMaxThreads = 1024;
constexpr size_t kMaxShared = 227 * 1024;

enum class State { running, at_barrier, at_exchange, done };

struct Copy {
  void* to;
  const void* from;
  size_t bytes, room;
  const void* code;
};

struct Thread {
  State state = State::running;
  Site site{};        // where it waits
  unsigned mask = 0;  // for whom, at an exchange
  Exchange exchange = Exchange::values;
  uint64_t value = 0;            // what it brings to the exchange
  uint64_t values[kLanes] = {};  // what all brought
  unsigned present = 0;          // who they were
  Stamp known[kLanes] = {};      // see Actor
  Work work = nullptr;           // what the last to come does
  std::vector<Copy> copies;      // asked for and not waited for
};

std::string coordinates(const Index& i) {
  return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
}

std::string source_of(const Site& site) {
  return std::string(site.file) + ":" + std::to_string(site.line);
}

std::string name(const Site& site) {
  return site.what + std::string(*site.what ? " at " : "") + source_of(site);
}

class Executor {
 public:
  void launch(const void* kernel, const Index& grid, const Index& block, size_t dynamic_bytes,
              const std::function<void()>& thread);
  int meet_block(const Site& site, int value);
  unsigned meet_warp(const Site& site, unsigned mask, Exchange exchange, uint64_t value,
                     Work work = nullptr);
  void copy_later(const Copy& copy);
  void wait_for_copies();
  uint64_t value_of(unsigned lane) const { return threads_[fibers_.current()].values[lane]; }
  void access(const void* address, size_t bytes, Access kind, const void* code);
  // Ends the launch: a thread has done what it must not do, at a place in the source.
  [[noreturn]] void fail(const std::string& what, const std::string& source);

  bool running() const { return fibers_.current() >= 0; }
  std::string place() const { return place(fibers_.current()); }
  int lane() const { return fibers_.current() % kLanes; }
  unsigned lanes_alive() const;
  void* dynamic_shared() { return dynamic_.data(); }

  Memory memory;

 private:
  void run_block();
  void finish_thread();
  void make_ready(int thread);
  // The threads that wait at an exchange for the present one.
  bool waits_for_me(const Thread& other) const;
  // Lets the lanes of a mask go on if all that are still there wait for it.
  void complete_if_all_wait(unsigned mask, Exchange exchange);
  void learn_from_each_other(unsigned lanes);
  Thread& at_lane(int lane) { return threads_[fibers_.current() / kLanes * kLanes + lane]; }
  // Lanes of the present warp that the block has.
  unsigned lanes_there() const;
  Index index_of(int thread) const;
  std::string place(int thread) const;
  std::string describe(const std::string& what, int thread, const std::string& source) const;

  const void* kernel_ = nullptr;
  const std::function<void()>* body_ = nullptr;
  std::vector<Thread> threads_;
  std::vector<char> dynamic_;
  std::vector<int> ready_;
  size_t done_ = 0, at_barrier_ = 0;
  int barrier_sum_ = 0, barrier_result_ = 0;
  std::optional<std::string> failure_;
  Fibers fibers_{[this] {
    (*body_)();
    finish_thread();
  }};
};

Executor& executor() {
  // Never destroyed: the process may end while fibers stand in the midst of a kernel.
  static auto* const instance = new Executor;
  return *instance;
}

void Executor::launch(const void* kernel, const Index& grid, const Index& block,
                      size_t dynamic_bytes, const std::function<void()>& thread) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  check(threads >= 1 && threads <= kMaxThreads && block.z <= 64,
        "simt: a block must have 1 to 1024 threads, at most 64 of them along z");
  check(grid.x >= 1 && grid.x < 1u << 31 && grid.y >= 1 && grid.y < 1u << 16 && grid.z >= 1 &&
            grid.z < 1u << 16,
        "simt: a grid must have 1 to 2^31 - 1 blocks along x, 1 to 65535 along y and along z");
  check(dynamic_bytes <= kMaxShared, "simt: a block has at most 227 KiB of shared memory");
  kernel_ = kernel;
  body_ = &thread;
  block_size = block;
  grid_size = grid;
  threads_.assign(threads, {});
  // Of the exact size, so that AddressSanitizer sees what lies beyond.
  dynamic_ = std::vector<char>(dynamic_bytes);
  memory.begin_launch(dynamic_.data(), dynamic_bytes);
  fibers_.reset(static_cast<int>(threads));
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        block_index = {x, y, z};
        run_block();
      }
}

void Executor::run_block() {
  memory.begin_block();
  done_ = at_barrier_ = 0;
  barrier_sum_ = 0;
  ready_.clear();
  for (size_t i = 0; i < threads_.size(); ++i) {
    threads_[i] = {};
    ready_.push_back(static_cast<int>(i));
  }
  std::vector<int> turn;
  while (done_ < threads_.size()) {
    turn.clear();
    turn.swap(ready_);
    if (turn.empty()) {
      // Only exchanges among different lanes can wait for each other in a circle.
      const auto waiting = std::find_if(threads_.begin(), threads_.end(), [](const Thread& thread) {
        return thread.state == State::at_exchange;
      });
      throw Fault(describe("deadlock: waits for lanes that wait at other exchanges",
                           static_cast<int>(waiting - threads_.begin()), name(waiting->site)));
    }
    for (int thread : turn) {
      thread_index = index_of(thread);
      fibers_.resume(thread);
      if (failure_) {
        const std::string text = std::move(*failure_);
        failure_.reset();
        throw Fault(text);
      }
    }
  }
}

void Executor::make_ready(int thread) {
  threads_[thread].state = State::running;
  ready_.push_back(thread);
}

bool Executor::waits_for_me(const Thread& other) const {
  return other.state == State::at_exchange && (other.mask >> lane() & 1u);
}

unsigned Executor::lanes_there() const {
  const size_t lanes = threads_.size() - static_cast<size_t>(fibers_.current() / kLanes * kLanes);
  return lanes >= kLanes ? ~0u : (1u << lanes) - 1;
}

unsigned Executor::lanes_alive() const {
  unsigned alive = 0;
  const int first = fibers_.current() / kLanes * kLanes;
  for (unsigned lanes = lanes_there(); lanes; lanes &= lanes - 1) {
    const int l = __builtin_ctz(lanes);
    if (threads_[first + l].state != State::done) alive |= 1u << l;
  }
  return alive;
}

void Executor::finish_thread() {
  Thread& self = threads_[fibers_.current()];
  for (size_t i = 0; i < threads_.size() && at_barrier_ > 0; ++i)
    if (threads_[i].state == State::at_barrier)
      fail("divergent barrier: leaves the kernel, while thread " +
               coordinates(index_of(static_cast<int>(i))) + " waits",
           name(threads_[i].site));
  self.state = State::done;
  ++done_;
  for (unsigned lanes = lanes_there(); lanes; lanes &= lanes - 1) {
    const Thread& other = at_lane(__builtin_ctz(lanes));
    if (!waits_for_me(other)) continue;
    if (other.exchange == Exchange::values)
      fail("leaves the kernel, while lane " + std::to_string(__builtin_ctz(lanes)) +
               " of its warp waits for it",
           name(other.site));
    complete_if_all_wait(other.mask, other.exchange);
  }
}

int Executor::meet_block(const Site& site, int value) {
  const int me = fibers_.current();
  for (size_t i = 0; i < threads_.size() && (done_ || at_barrier_); ++i) {
    const Thread& other = threads_[i];
    const auto who = [&] { return coordinates(index_of(static_cast<int>(i))); };
    if (other.state == State::done)
      fail("divergent barrier: waits for thread " + who() + ", which has left the kernel",
           name(site));
    if (other.state != State::at_barrier) continue;
    if (other.site.line != site.line || std::strcmp(other.site.file, site.file))
      fail("divergent barrier: thread " + who() + " waits at another one, " + name(other.site),
           name(site));
    break;  // the others that wait have been compared with this one
  }
  for (unsigned lanes = lanes_there(); lanes; lanes &= lanes - 1) {
    const Thread& other = at_lane(__builtin_ctz(lanes));
    if (waits_for_me(other))
      fail("divergent barrier: lane " + std::to_string(__builtin_ctz(lanes)) +
               " of its warp waits for it elsewhere, " + name(other.site),
           name(site));
  }
  barrier_sum_ += value;
  if (++at_barrier_ < threads_.size()) {
    threads_[me].state = State::at_barrier;
    threads_[me].site = site;
    fibers_.yield();
    return barrier_result_;
  }
  memory.barrier();
  barrier_result_ = std::exchange(barrier_sum_, 0);
  at_barrier_ = 0;
  for (int i = 0; i < static_cast<int>(threads_.size()); ++i)
    if (i != me) make_ready(i);
  return barrier_result_;
}

unsigned Executor::meet_warp(const Site& site, unsigned mask, Exchange exchange, uint64_t value,
                             Work work) {
  Thread& self = threads_[fibers_.current()];
  if (!(mask >> lane() & 1u))
    fail("takes part with a mask that does not name its own lane, " + std::to_string(lane()),
         name(site));
  for (unsigned lanes = mask & lanes_there(); lanes; lanes &= lanes - 1) {
    const int l = __builtin_ctz(lanes);
    const Thread& other = at_lane(l);
    // The CUDA guide lets a mask name lanes that have left; but their values would be missed.
    if (other.state == State::done && exchange == Exchange::values)
      fail("names lane " + std::to_string(l) + " in its mask, which has left the kernel",
           name(site));
    if (other.state == State::at_barrier)
      fail("names lane " + std::to_string(l) + " in its mask, which waits at " + name(other.site),
           name(site));
    if (waits_for_me(other) && (other.mask != mask || std::strcmp(other.site.what, site.what)))
      fail("meets lane " + std::to_string(l) + " at another exchange or with another mask, " +
               name(other.site),
           name(site));
  }
  self.state = State::at_exchange;
  self.site = site;
  self.mask = mask;
  self.exchange = exchange;
  self.value = value;
  self.work = work;
  complete_if_all_wait(mask, exchange);
  if (self.state == State::at_exchange) fibers_.yield();
  return self.present;
}

void Executor::complete_if_all_wait(unsigned mask, Exchange exchange) {
  const unsigned lanes = mask & lanes_alive();
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    const Thread& thread = at_lane(__builtin_ctz(rest));
    if (thread.state != State::at_exchange || thread.mask != mask) return;
  }
  if (exchange == Exchange::memory) learn_from_each_other(lanes);
  uint64_t values[kLanes] = {};
  for (unsigned rest = lanes; rest; rest &= rest - 1)
    values[__builtin_ctz(rest)] = at_lane(__builtin_ctz(rest)).value;
  if (const Work work = at_lane(lane()).work) {
    void* brought[kLanes];
    for (int i = 0; i < kLanes; ++i) brought[i] = reinterpret_cast<void*>(values[i]);
    work(brought);
  }
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    Thread& thread = at_lane(__builtin_ctz(rest));
    std::copy(values, values + kLanes, thread.values);
    thread.present = lanes;
    // The one that runs goes on by itself.
    if (__builtin_ctz(rest) == lane())
      thread.state = State::running;
    else
      make_ready(static_cast<int>(&thread - threads_.data()));
  }
}

void Executor::learn_from_each_other(unsigned lanes) {
  Stamp known[kLanes] = {};
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    const Stamp* own = at_lane(__builtin_ctz(rest)).known;
    for (int i = 0; i < kLanes; ++i) known[i] = std::max(known[i], own[i]);
  }
  for (unsigned rest = lanes; rest; rest &= rest - 1) known[__builtin_ctz(rest)] = memory.now();
  for (unsigned rest = lanes; rest; rest &= rest - 1)
    std::copy(known, known + kLanes, at_lane(__builtin_ctz(rest)).known);
  memory.next_stamp();
}

void Executor::access(const void* address, size_t bytes, Access kind, const void* code) {
#if defined(__SANITIZE_ADDRESS__)
  return;  // it watches instead, and static shared arrays are ordinary ones, unknown to `memory`
#endif
  if (fibers_.on_current_stack(address)) return;
  const int me = fibers_.current();
  const auto at = reinterpret_cast<uintptr_t>(code);
  if (fibers_.on_any_stack(address))
    fail("touches a local variable of another thread", simt::source_of(at));
  const std::string what = memory.access(address, bytes, kind, {me, threads_[me].known, at});
  if (!what.empty()) fail(what, simt::source_of(at));
}

void Executor::copy_later(const Copy& copy) {
  if (reinterpret_cast<uintptr_t>(copy.to) % copy.room ||
      reinterpret_cast<uintptr_t>(copy.from) % copy.room)
    fail("misaligned: copies " + std::to_string(copy.room) + " bytes at once",
         simt::source_of(reinterpret_cast<uintptr_t>(copy.code)));
  if (copy.bytes) access(copy.from, copy.bytes, Access::read, copy.code);
  access(copy.to, copy.room, Access::write, copy.code);
  threads_[fibers_.current()].copies.push_back(copy);
}

void Executor::wait_for_copies() {
  for (const Copy& copy : std::exchange(threads_[fibers_.current()].copies, {})) {
    access(copy.to, copy.room, Access::write, copy.code);
    std::memcpy(copy.to, copy.from, copy.bytes);
    std::memset(static_cast<char*>(copy.to) + copy.bytes, 0, copy.room - copy.bytes);
  }
}

void Executor::fail(const std::string& what, const std::string& source) {
  failure_ = describe(what, fibers_.current(), source);
  fibers_.abandon();
}

std::string Executor::place(int thread) const {
  return "kernel: " + function_name(kernel_) + "\n  block " + coordinates(block_index) +
         ", thread " + coordinates(index_of(thread));
}

std::string Executor::describe(const std::string& what, int thread,
                               const std::string& source) const {
  return without_root("simt: " + what + "\n  " + place(thread) + "\n  source: " + source);
}

Index Executor::index_of(int thread) const {
  const auto i = static_cast<unsigned>(thread);
  return {i % block_size.x, i / block_size.x % block_size.y, i / (block_size.x * block_size.y)};
}

}  // namespace

Call::~Call() { executor().memory.forget_tensors(); }

void expose(const Tensor& tensor) { executor().memory.expose(tensor); }

void launch(const void* kernel, const Index& grid, const Index& block, size_t dynamic_shared_bytes,
            const std::function<void()>& thread) {
  executor().launch(kernel, grid, block, dynamic_shared_bytes, thread);
}

int meet_block(const Site& site, int value) { return executor().meet_block(site, value); }

unsigned meet_warp(const Site& site, unsigned mask, Exchange exchange, uint64_t value) {
  return executor().meet_warp(site, mask, exchange, value);
}
void work_as_warp(const Site& site, Work work, void* own) {
  executor().meet_warp(site, ~0u, Exchange::values, reinterpret_cast<uintptr_t>(own), work);
}
void copy_later(void* to, const void* from, size_t bytes, size_t room, const void* code) {
  executor().copy_later({to, from, bytes, room, code});
}
void wait_for_copies() { executor().wait_for_copies(); }
uint64_t value_of(unsigned lane) { return executor().value_of(lane); }

unsigned lane() { return static_cast<unsigned>(executor().lane()); }
unsigned lanes_alive() { return executor().lanes_alive(); }
void fail(const Site& site, const std::string& what) { executor().fail(what, name(site)); }
void fence() { executor().memory.fence(); }
void* dynamic_shared() { return executor().dynamic_shared(); }

bool running() { return executor().running(); }
std::string place() { return executor().place(); }

void note_access(const void* address, size_t bytes, Access kind, const void* code) {
  if (executor().running()) executor().access(address, bytes, kind, code);
}

}  // namespace motion_lab::simt
