#include "simt/report.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <link.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>

namespace motion_lab::simt {

namespace {

// Proves that the module's thread-locals exist, and is there where no kernel has shared memory.
thread_local char anchor = 0;

struct Module {
  std::string path;
  uintptr_t base = 0;
};

const Module& module() {
  static const Module found = [] {
    Dl_info info{};
    dladdr(reinterpret_cast<const void*>(&source_of), &info);
    return Module{info.dli_fname ? info.dli_fname : "",
                  reinterpret_cast<uintptr_t>(info.dli_fbase)};
  }();
  return found;
}

std::string output_of(const std::string& command) {
  std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen((command + " 2>/dev/null").c_str(), "r"),
                                             pclose);
  std::string text;
  std::array<char, 4096> buffer;
  while (pipe && fgets(buffer.data(), buffer.size(), pipe.get())) text += buffer.data();
  return text;
}

// A path between quotes that the shell takes as it is.
std::string quoted(const std::string& path) {
  std::string text = "'";
  for (char c : path) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

void replace_all(std::string& text, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
    text.replace(at, from.size(), to);
}

// What addr2line prints for an address, or nothing if it knows nothing.
std::string addr2line(const std::string& options, uintptr_t address) {
  std::string text = output_of("addr2line -pC" + options + "e " + quoted(module().path) + " " +
                               hexadecimal(address - module().base));
  if (text.compare(0, 2, "??") == 0) return {};
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string demangled(const std::string& name) {
  int status = 0;
  std::unique_ptr<char, void (*)(void*)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status), std::free);
  return status == 0 ? text.get() : name;
}

}  // namespace

std::string hexadecimal(uintptr_t value) {
  std::ostringstream text;
  text << "0x" << std::hex << value;
  return text.str();
}

std::string without_root(std::string text) {
  replace_all(text, MOTION_LAB_ROOT, "");
  return text;
}

std::string source_of(uintptr_t code) {
  // The call before the return address.
  std::istringstream lines(addr2line("i", code - 1));
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    replace_all(line, " (inlined by) ", ", inlined at ");
    text += line.substr(0, line.find(" (discriminator"));
  }
  return text.empty() ? hexadecimal(code) : text;
}

std::string function_name(const void* function) {
  const auto address = reinterpret_cast<uintptr_t>(function);
  std::string name = addr2line("f", address);
  name = name.substr(0, name.find(" at "));
  replace_all(name, "(anonymous namespace)::", "");
  return name.empty() ? hexadecimal(address) : name;
}

Bytes thread_locals() {
  anchor = 1;
  Bytes found{0, 0};
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* result) {
        if (info->dlpi_addr != module().base) return 0;
        for (int i = 0; i < info->dlpi_phnum; ++i)
          if (info->dlpi_phdr[i].p_type == PT_TLS)
            *static_cast<Bytes*>(result) = {reinterpret_cast<uintptr_t>(info->dlpi_tls_data),
                                            info->dlpi_phdr[i].p_memsz};
        return 1;
      },
      &found);
  return found;
}

std::string thread_local_name(size_t offset) {
  // Lines such as "  12: 0000000000000040  128 TLS  LOCAL  DEFAULT  20 _ZZ...E6staged".
  std::istringstream table(output_of("readelf -sW " + quoted(module().path)));
  for (std::string line; std::getline(table, line);) {
    std::istringstream fields(line);
    std::string number, value, size, type, binding, visibility, section, name;
    fields >> number >> value >> size >> type >> binding >> visibility >> section >> name;
    if (type != "TLS") continue;
    const size_t begin = std::strtoull(value.c_str(), nullptr, 16);
    const size_t bytes = std::strtoull(size.c_str(), nullptr, 0);
    if (offset >= begin && offset < begin + bytes) {
      const std::string full = demangled(name);
      return "shared " + full.substr(full.rfind(':') + 1) + " + " + std::to_string(offset - begin);
    }
  }
  return "static shared memory + " + std::to_string(offset);
}

bool in_module(uintptr_t address) {
  Dl_info info{};
  return dladdr(reinterpret_cast<const void*>(address), &info) &&
         reinterpret_cast<uintptr_t>(info.dli_fbase) == module().base;
}

}  // namespace motion_lab::simt
