#include "cuda/binaries.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <set>

#include "base/format.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "codegen/object_cache.h"
#include "cuda/load.h"

namespace corten::cuda {

using codegen::gpu::KernelText;

std::vector<std::string> compile_options(const std::string& architecture) {
  // Every operation rounds once, as IEEE 754 says; no flag may change a bit.
  return {"-arch=" + architecture, "-std=c++17",      "-fmad=false",     "-ftz=false",
          "-prec-div=true",        "-prec-sqrt=true", "-default-device", "--ptxas-options=-v",
          "-diag-suppress=177"};
}

// "ptxas info : Compiling entry function 'k_1' for 'sm_90'", "... N bytes stack frame, N bytes
// spill stores, N bytes spill loads", "... Used 32 registers, used 1 barriers, 16 bytes smem".
std::vector<KernelResources> parse_resources(const std::string& log) {
  std::vector<KernelResources> out;
  const auto number_before = [](std::string_view line, std::string_view words) {
    const size_t at = line.find(words);
    if (at == std::string_view::npos) return 0;
    size_t begin = at;
    while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9') --begin;
    int number = 0;
    for (size_t i = begin; i < at; ++i) number = number * 10 + (line[i] - '0');
    return number;
  };
  size_t begin = 0;
  while (begin < log.size()) {
    const size_t end = std::min(log.find('\n', begin), log.size());
    const std::string_view line(log.data() + begin, end - begin);
    begin = end + 1;
    if (const size_t at = line.find("Compiling entry function '"); at != std::string_view::npos) {
      const size_t name = at + std::strlen("Compiling entry function '");
      out.emplace_back().name = line.substr(name, line.find('\'', name) - name);
    }
    if (out.empty()) continue;
    KernelResources& r = out.back();
    if (line.find("bytes stack frame") != std::string_view::npos) {
      r.stack_bytes = number_before(line, " bytes stack frame");
      r.spill_store_bytes = number_before(line, " bytes spill stores");
      r.spill_load_bytes = number_before(line, " bytes spill loads");
    }
    if (line.find(" registers") != std::string_view::npos) {
      r.registers = number_before(line, " registers");
      r.shared_bytes = number_before(line, " bytes smem");
    }
  }
  return out;
}

namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

// The compiler's log before the binary, so that a binary from disk knows its resources.
std::string pack(const std::string& log, const std::string& cubin) {
  const auto size = static_cast<uint64_t>(log.size());
  std::string out(reinterpret_cast<const char*>(&size), sizeof size);
  return out + log + cubin;
}
bool unpack(const std::string& object, std::string& log, std::string& cubin) {
  uint64_t size = 0;
  if (object.size() < sizeof size) return false;
  std::memcpy(&size, object.data(), sizeof size);
  if (size > object.size() - sizeof size) return false;
  log = object.substr(sizeof size, size);
  cubin = object.substr(sizeof size + size);
  return cubin.starts_with("\177ELF");
}

Binary compile_module(Plugin& nvrtc, const CompilerInfo& compiler, const std::string& text,
                      const std::vector<std::string>& options) {
  const auto start = std::chrono::steady_clock::now();
  Hasher hasher;
  hasher.update("cubin").update_value(compiler.major).update_value(compiler.minor);
  hasher.update(compiler.build).update_value(char{0});
  for (const std::string& o : options) hasher.update(o).update_value(char{0});
  const Hash128 key = hasher.update(text).digest128();
  codegen::ObjectCache& cache = codegen::object_cache();
  Binary out;
  std::string log;
  if (const auto object = cache.load(key); object && unpack(*object, log, out.cubin)) {
    out.from_disk = true;
  } else {
    log.clear();
    const Status status = nvrtc.compile(text, options, out.cubin, log);
    if (!status.empty()) {
      if (log.empty()) resource_error("{}", status);
      internal_error("{}: {}", status, log.substr(0, 2000));
    }
    cache.store(key, pack(log, out.cubin));
  }
  out.resources = parse_resources(log);
  out.ms = milliseconds_since(start);
  return out;
}

}  // namespace

std::vector<Binary> compile_kernels(std::span<const KernelText> kernels,
                                    const std::string& architecture, int modules) {
  Plugin& nvrtc = plugin();
  const CompilerInfo compiler = nvrtc.compiler();
  if (!compiler.missing.empty()) resource_error("{}", compiler.missing);
  // "sm_90" is architecture 90.
  const int number = std::atoi(architecture.c_str() + std::min<size_t>(architecture.size(), 3));
  if (std::find(compiler.architectures.begin(), compiler.architectures.end(), number) ==
      compiler.architectures.end())
    resource_error(
        "{} (NVRTC {}.{}) does not compile for {}, only for {}: install a newer CUDA toolkit",
        compiler.library, compiler.major, compiler.minor, architecture,
        fmt::join(compiler.architectures, ", "));
  // Distinct ones, the longest first, each to the shortest module.
  std::vector<const KernelText*> distinct;
  std::set<std::string_view> known;
  for (const KernelText& k : kernels)
    if (known.insert(k.name).second) distinct.push_back(&k);
  // What takes the compiler as long: instances of a library are more than their text.
  const auto weight = [](const KernelText& k) {
    return k.text.size() + (k.library.empty() ? 0 : size_t{16} << 10);
  };
  std::stable_sort(distinct.begin(), distinct.end(), [&](const KernelText* a, const KernelText* b) {
    return weight(*a) > weight(*b);
  });
  const size_t count =
      std::clamp<size_t>(distinct.size(), 1, static_cast<size_t>(std::max(modules, 1)));
  std::vector<std::vector<KernelText>> parts(count);
  std::vector<size_t> sizes(count, 0);
  for (const KernelText* k : distinct) {
    const size_t part =
        static_cast<size_t>(std::min_element(sizes.begin(), sizes.end()) - sizes.begin());
    parts[part].push_back(*k);
    sizes[part] += weight(*k);
  }
  const std::vector<std::string> options = compile_options(architecture);
  std::vector<Binary> out(count);
  default_thread_pool().parallel_for(static_cast<int64_t>(count), [&](int64_t i, int) {
    out[static_cast<size_t>(i)] = compile_module(
        nvrtc, compiler, codegen::gpu::module_text(parts[static_cast<size_t>(i)]), options);
  });
  return out;
}

}  // namespace corten::cuda
