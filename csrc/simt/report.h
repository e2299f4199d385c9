// Names for addresses, for the text of a fault. Slow: called once, when something is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace motion_lab::simt {

std::string hexadecimal(uintptr_t value);

// A text whose paths begin in the project's folder, where they began with it.
std::string without_root(std::string text);

// The source line before a return address and the lines where that is inlined, as far as addr2line
// tells; else the address.
std::string source_of(uintptr_t code);

// The name of a function of this module.
std::string function_name(const void* function);

// This thread's copy of the module's thread_local variables: under simt, its __shared__ ones.
struct Bytes {
  uintptr_t begin;
  size_t size;
};
Bytes thread_locals();

// The variable at an offset into them, as "shared staged + 12"; else the offset.
std::string thread_local_name(size_t offset);

// Whether an address lies in the module itself: constants, and variables of the host.
bool in_module(uintptr_t address);

}  // namespace motion_lab::simt
