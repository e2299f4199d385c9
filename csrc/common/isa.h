// Which of a kernel's compiled versions runs. CMake compiles every op's cpu.cpp once per level with
// -DMOTION_LAB_ISA=<level>, and the code of each lies in the namespace of that name:
//
//   contract.h   MOTION_LAB_PER_ISA(void forward(const Params& params, int threads);)
//   cpu.cpp      namespace MOTION_LAB_ISA { void forward(...) { ... } }
//   bindings     MOTION_LAB_CALL(my_op::, forward(params, threads));
#pragma once

namespace motion_lab {

enum class Isa { baseline, avx2, avx512 };

// The level in use: the best that the processor and the operating system offer.
Isa active_isa();

// Makes a lower level active; throws std::invalid_argument for one that this machine lacks.
void set_isa(Isa isa);

const char* name_of(Isa isa);

}  // namespace motion_lab

#if defined(__x86_64__) || defined(_M_X64)
#define MOTION_LAB_PER_ISA(...) \
  namespace baseline {          \
  __VA_ARGS__                   \
  }                             \
  namespace avx2 {              \
  __VA_ARGS__                   \
  }                             \
  namespace avx512 {            \
  __VA_ARGS__                   \
  }
#define MOTION_LAB_CALL(scope, ...)                                                    \
  (::motion_lab::active_isa() == ::motion_lab::Isa::avx512 ? scope avx512::__VA_ARGS__ \
   : ::motion_lab::active_isa() == ::motion_lab::Isa::avx2 ? scope avx2::__VA_ARGS__   \
                                                           : scope baseline::__VA_ARGS__)
#else
#define MOTION_LAB_PER_ISA(...) \
  namespace baseline {          \
  __VA_ARGS__                   \
  }
#define MOTION_LAB_CALL(scope, ...) (scope baseline::__VA_ARGS__)
#endif
