// What the compiler calls for -fsanitize=thread before every load and store, and for
// -fsanitize=alignment,bounds,object-size where one goes wrong. Defined here in place of the
// sanitizers' runtime libraries. Under AddressSanitizer, what its own library calls when it has
// found a fault.
#include <cstddef>
#include <cstdint>
#include <string>

#include "simt/simt.h"

#if defined(__SANITIZE_ADDRESS__)

#include <cstdio>

extern "C" __attribute__((visibility("default"))) void __asan_on_error() {
  if (motion_lab::simt::running())
    std::fprintf(stderr, "simt: %s\n", motion_lab::simt::place().c_str());
}

#else

using motion_lab::simt::Access;
using motion_lab::simt::fail;
using motion_lab::simt::note_access;
using motion_lab::simt::running;
using motion_lab::simt::Site;

namespace {

// The sanitizers' own description of a place in the source.
struct SourceLocation {
  const char* file;
  uint32_t line;
  uint32_t column;
};

struct TypeDescriptor {
  uint16_t kind;
  uint16_t info;
  char name[1];
};

Site site_of(const SourceLocation& location) {
  return {"", location.file, static_cast<int>(location.line)};
}

}  // namespace

extern "C" {

#define MOTION_LAB_HOOKS(bytes)                                              \
  void __tsan_read##bytes(void* address) {                                   \
    note_access(address, bytes, Access::read, __builtin_return_address(0));  \
  }                                                                          \
  void __tsan_write##bytes(void* address) {                                  \
    note_access(address, bytes, Access::write, __builtin_return_address(0)); \
  }                                                                          \
  void __tsan_unaligned_read##bytes(void* address) {                         \
    note_access(address, bytes, Access::read, __builtin_return_address(0));  \
  }                                                                          \
  void __tsan_unaligned_write##bytes(void* address) {                        \
    note_access(address, bytes, Access::write, __builtin_return_address(0)); \
  }
MOTION_LAB_HOOKS(1)
MOTION_LAB_HOOKS(2)
MOTION_LAB_HOOKS(4)
MOTION_LAB_HOOKS(8)
MOTION_LAB_HOOKS(16)
#undef MOTION_LAB_HOOKS

void __tsan_read_range(void* address, size_t bytes) {
  note_access(address, bytes, Access::read, __builtin_return_address(0));
}
void __tsan_write_range(void* address, size_t bytes) {
  note_access(address, bytes, Access::write, __builtin_return_address(0));
}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}

struct TypeMismatch {
  SourceLocation location;
  const TypeDescriptor* type;
  uint8_t log_alignment;
  uint8_t kind;
};

void __ubsan_handle_type_mismatch_v1(TypeMismatch* data, void* address) {
  if (!running()) return;
  const auto alignment = uintptr_t{1} << data->log_alignment;
  const auto excess = reinterpret_cast<uintptr_t>(address) % alignment;
  const std::string type = data->type->name;
  fail(site_of(data->location),
       excess ? "misaligned: touches " + type + " " + std::to_string(excess) +
                    " bytes past a multiple of " + std::to_string(alignment)
              : "overrun: touches " + type + " beyond the end of the variable");
}

struct OutOfBounds {
  SourceLocation location;
  const TypeDescriptor* array;
  const TypeDescriptor* index;
};

void __ubsan_handle_out_of_bounds(OutOfBounds* data, void* index) {
  if (!running()) return;
  fail(site_of(data->location), "out of bounds: index " +
                                    std::to_string(reinterpret_cast<intptr_t>(index)) + " of " +
                                    data->array->name);
}

}  // extern "C"

#endif
