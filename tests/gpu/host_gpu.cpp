#include "gpu/host_gpu.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <map>
#include <random>
#include <unordered_map>

#include "base/file.h"
#include "base/format.h"

// Saves the callee-saved registers and the stack of one fiber and continues another (System V ABI,
// x86-64).
asm(R"(
.text
.globl corten_switch_fiber
.type corten_switch_fiber, @function
corten_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
extern "C" void corten_switch_fiber(void** save, void* load);

namespace corten::codegen::test {
namespace {

// As in the prelude.
struct Hooks {
  int thread, block;
  void (*barrier)(int line);
  int (*barrier_or)(int line, int value);
  uint32_t (*ballot)(int line, int value);
  uint64_t (*shuffle)(int line, uint64_t value, int mask);
  void (*memory)(const void* place, uint64_t bytes, int write);
  void (*shared)(const void* place, uint64_t bytes, int write);
};

// As in src/cuda/attention/tile_text.cpp.
using WarpFunction = void (*)(void* const* lanes);
struct TileHooks {
  void (*together)(int line, void* lane, WarpFunction run);
  void (*shared)(int at, int bytes, int write);
  void (*copy)(int at, const void* from, int bytes, int valid);
  void (*commit)();
  void (*wait)(int pending);
  void (*fault)(const char* what);
};

constexpr int kWarp = 32;
constexpr size_t kStack = 64 << 10;
constexpr int kWord = 4;  // bytes of shared memory that are watched as one

enum class Wait : uint8_t { none, barrier, barrier_or, ballot, shuffle, together, done };

// A copy to shared memory that is under way.
struct Copy {
  int at;
  const void* from;
  int bytes, valid;
};

struct Fiber {
  void* stack = nullptr;  // where it goes on
  Wait wait = Wait::none;
  int line = 0, mask = 0;
  uint64_t value = 0, result = 0;
  WarpFunction run = nullptr;
  std::vector<Copy> copies;                 // since the last commit
  std::deque<std::vector<Copy>> committed;  // the oldest first
};

// Who touched a byte of global memory in this launch: thread numbers from 1 on; -1: several.
struct Touched {
  int32_t writer = 0, reader = 0;
};

class Machine {
 public:
  Hooks hooks{};
  TileHooks tile_hooks{};
  std::string error;

  Machine() {
    hooks.barrier = [](int line) { the().wait(Wait::barrier, line, 0, 0); };
    hooks.barrier_or = [](int line, int value) {
      return static_cast<int>(the().wait(Wait::barrier_or, line, value != 0, 0));
    };
    hooks.ballot = [](int line, int value) {
      return static_cast<uint32_t>(the().wait(Wait::ballot, line, value != 0, 0));
    };
    hooks.shuffle = [](int line, uint64_t value, int mask) {
      return the().wait(Wait::shuffle, line, value, mask);
    };
    hooks.memory = [](const void* p, uint64_t bytes, int write) {
      the().touch(p, bytes, write != 0);
    };
    hooks.shared = [](const void* p, uint64_t bytes, int write) {
      the().touch_shared(p, bytes, write);
    };
    tile_hooks.together = [](int line, void* lane, WarpFunction run) {
      the().fibers_[static_cast<size_t>(the().current_)].run = run;
      the().wait(Wait::together, line, reinterpret_cast<uint64_t>(lane), 0);
    };
    tile_hooks.shared = [](int at, int bytes, int write) {
      the().touch_words(at, bytes, write != 0, false);
    };
    tile_hooks.copy = [](int at, const void* from, int bytes, int valid) {
      the().touch_words(at, bytes, true, true);
      the().fibers_[static_cast<size_t>(the().current_)].copies.push_back({at, from, bytes, valid});
    };
    tile_hooks.commit = [] {
      Fiber& f = the().fibers_[static_cast<size_t>(the().current_)];
      f.committed.push_back(std::move(f.copies));
      f.copies.clear();
    };
    tile_hooks.wait = [](int pending) { the().arrive(pending); };
    tile_hooks.fault = [](const char* what) { the().fail(what); };
  }
  static Machine& the() {
    static auto* machine = new Machine;
    return *machine;
  }

  void begin(std::span<const HostModule::Range> memory, bool tracked) {
    error.clear();
    ranges_.clear();
    for (const HostModule::Range& r : memory) {
      const auto begin = reinterpret_cast<uint64_t>(r.begin);
      if (r.bytes > 0) ranges_.push_back({begin, begin + static_cast<uint64_t>(r.bytes), {}});
    }
    std::sort(ranges_.begin(), ranges_.end(),
              [](const auto& a, const auto& b) { return a.begin < b.begin; });
    if (tracked)
      for (auto& r : ranges_) r.touched.resize(r.end - r.begin);
  }

  /// The shared memory that launches ask for: `bytes` of it may be touched.
  void set_shared(char* memory, int bytes) {
    shared_memory_ = memory;
    words_.resize(static_cast<size_t>(bytes / kWord));
  }

  void run_block(int64_t block, int threads, bool collective, std::mt19937_64& random,
                 const std::function<void()>& body) {
    hooks.block = static_cast<int>(block);
    first_thread_ = block * threads;
    shared_.clear();
    words_.assign(words_.size(), {});
    body_ = &body;
    if (!collective) {
      fibers_.clear();
      std::vector<int>& order = order_of(threads, random);
      for (int t : order) {
        hooks.thread = t;
        body();
        if (!error.empty()) return;
      }
      return;
    }
    fibers_.clear();
    fibers_.resize(static_cast<size_t>(threads));
    make_stacks(threads);
    for (int t = 0; t < threads; ++t) start(t);
    std::vector<int>& order = order_of(threads, random);
    while (true) {
      bool ran = false;
      for (int t : order) {
        if (fibers_[static_cast<size_t>(t)].wait != Wait::none) continue;
        ran = true;
        current_ = t;
        hooks.thread = t;
        corten_switch_fiber(&scheduler_, fibers_[static_cast<size_t>(t)].stack);
        if (!error.empty()) return;  // the block is abandoned
      }
      if (release(threads)) continue;
      if (!ran) return stuck();
      if (std::all_of(fibers_.begin(), fibers_.end(),
                      [](const Fiber& f) { return f.wait == Wait::done; })) {
        for (const Fiber& f : fibers_)
          if (!f.copies.empty() || !f.committed.empty())
            fail("ends before its copies have arrived");
        return;
      }
    }
  }

 private:
  std::vector<int>& order_of(int threads, std::mt19937_64& random) {
    order_.resize(static_cast<size_t>(threads));
    for (int t = 0; t < threads; ++t) order_[static_cast<size_t>(t)] = t;
    if (const uint64_t kind = random() % 3; kind == 1)
      std::reverse(order_.begin(), order_.end());
    else if (kind == 2)
      std::shuffle(order_.begin(), order_.end(), random);
    return order_;
  }

  void make_stacks(int threads) {
    while (static_cast<int>(stacks_.size()) < threads)
      stacks_.push_back(static_cast<char*>(
          mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)));
  }

  void start(int t) {
    // Popped by the first switch: six registers, then the entry. The entry finds the stack aligned
    // as after a call.
    auto* top = reinterpret_cast<uint64_t*>(stacks_[static_cast<size_t>(t)] + kStack - 16);
    *--top = 0;
    *--top = reinterpret_cast<uint64_t>(&Machine::entry);
    for (int i = 0; i < 6; ++i) *--top = 0;
    fibers_[static_cast<size_t>(t)].stack = top;
  }

  static void entry() {
    Machine& m = the();
    (*m.body_)();
    m.fibers_[static_cast<size_t>(m.current_)].wait = Wait::done;
    corten_switch_fiber(&m.fibers_[static_cast<size_t>(m.current_)].stack, m.scheduler_);
    std::abort();
  }

  uint64_t wait(Wait kind, int line, uint64_t value, int mask) {
    Fiber& f = fibers_[static_cast<size_t>(current_)];
    f.wait = kind;
    f.line = line;
    f.value = value;
    f.mask = mask;
    corten_switch_fiber(&f.stack, scheduler_);
    return f.result;
  }

  static bool alike(const Fiber& a, const Fiber& b) {
    return a.wait == b.wait && a.line == b.line && a.mask == b.mask && a.run == b.run;
  }

  // Lets go on whoever can; whether anyone can.
  bool release(int threads) {
    bool any = false;
    for (int w = 0; w < threads; w += kWarp) {
      Fiber* warp = &fibers_[static_cast<size_t>(w)];
      if (warp->wait != Wait::shuffle && warp->wait != Wait::ballot && warp->wait != Wait::together)
        continue;
      if (!std::all_of(warp, warp + kWarp, [&](const Fiber& f) { return alike(f, *warp); }))
        continue;
      any = true;
      if (warp->wait == Wait::together) {
        void* lanes[kWarp];
        for (int l = 0; l < kWarp; ++l) lanes[l] = reinterpret_cast<void*>(warp[l].value);
        warp->run(lanes);
        for (int l = 0; l < kWarp; ++l) {
          warp[l].wait = Wait::none;
          warp[l].run = nullptr;
        }
        continue;
      }
      uint64_t votes = 0;
      for (int l = 0; l < kWarp; ++l) votes |= (warp[l].value != 0 ? uint64_t{1} : 0) << l;
      for (int l = 0; l < kWarp; ++l)
        warp[l].result = warp->wait == Wait::ballot ? votes : warp[l ^ warp[l].mask].value;
      for (int l = 0; l < kWarp; ++l) warp[l].wait = Wait::none;
    }
    const Fiber& first = fibers_[0];
    if ((first.wait == Wait::barrier || first.wait == Wait::barrier_or) &&
        std::all_of(fibers_.begin(), fibers_.end(),
                    [&](const Fiber& f) { return alike(f, first); })) {
      const bool vote =
          std::any_of(fibers_.begin(), fibers_.end(), [](const Fiber& f) { return f.value != 0; });
      for (Fiber& f : fibers_) {
        f.result = vote;
        f.wait = Wait::none;
      }
      for (auto& [place, s] : shared_) s.writer = s.reader = 0;
      ++epoch_;
      any = true;
    }
    return any;
  }

  void stuck() {
    error = format("block {}: threads wait for each other:", hooks.block);
    for (size_t t = 0; t < fibers_.size(); ++t)
      if (t == 0 || !alike(fibers_[t], fibers_[t - 1]))
        error += format(" from thread {} on: {} of line {};", t, static_cast<int>(fibers_[t].wait),
                        fibers_[t].line);
  }

  void fail(std::string text) {
    if (error.empty()) error = format("block {}, thread {}: {}", hooks.block, hooks.thread, text);
  }

  void touch(const void* place, uint64_t bytes, bool write) {
    const auto at = reinterpret_cast<uint64_t>(place);
    auto next = std::upper_bound(ranges_.begin(), ranges_.end(), at,
                                 [](uint64_t x, const MemoryRange& r) { return x < r.begin; });
    if (next == ranges_.begin() || at + bytes > (next - 1)->end) {
      fail(format("{} {} bytes at {:#x}, outside of all operands", write ? "writes" : "reads",
                  bytes, at));
      // Going on would be a fault of this process: the thread ends here.
      if (fibers_.empty()) throw OutOfBounds{};
      fibers_[static_cast<size_t>(current_)].wait = Wait::done;
      corten_switch_fiber(&fibers_[static_cast<size_t>(current_)].stack, scheduler_);
    }
    if (at % bytes && bytes <= 16) fail(format("{} bytes at {:#x}: not aligned", bytes, at));
    MemoryRange& range = *(next - 1);
    if (range.touched.empty()) return;
    const auto me = static_cast<int32_t>(first_thread_ + hooks.thread + 1);
    for (uint64_t i = at - range.begin; i < at - range.begin + bytes; ++i) {
      Touched& t = range.touched[i];
      if (t.writer != 0 && t.writer != me)
        return fail(format("{} what thread {} of block {} wrote", write ? "overwrites" : "reads",
                           t.writer, hooks.block));
      if (write && t.reader != 0 && t.reader != me)
        return fail(format("overwrites what thread {} reads", t.reader));
      if (write)
        t.writer = me;
      else
        t.reader = t.reader == 0 || t.reader == me ? me : -1;
    }
  }

  // Words of the shared memory that the launch asked for. What a copy is on its way to is nobody's
  // until the copying thread has waited for it.
  void touch_words(int at, int bytes, bool write, bool copy) {
    if (at < 0 || at % bytes || static_cast<size_t>((at + bytes) / kWord) > words_.size()) {
      fail(format("{} bytes at {} of shared memory, which has {}", bytes, at,
                  words_.size() * kWord));
      // Going on would be a fault of this process: the thread ends here.
      fibers_[static_cast<size_t>(current_)].wait = Wait::done;
      corten_switch_fiber(&fibers_[static_cast<size_t>(current_)].stack, scheduler_);
    }
    const int me = hooks.thread + 1;
    for (int i = at / kWord; i < (at + bytes) / kWord; ++i) {
      Word& w = words_[static_cast<size_t>(i)];
      if (w.epoch != epoch_) {
        w.writer = w.reader = 0;
        w.epoch = epoch_;
      }
      if (w.copying) return fail("touches shared memory that a copy is on its way to");
      if (!write && !w.written) return fail("reads shared memory that was not written");
      if (w.writer != 0 && w.writer != me)
        return fail(format("touches shared memory that thread {} wrote since the last barrier",
                           w.writer - 1));
      if (write && w.reader != 0 && w.reader != me)
        return fail("overwrites shared memory that is read since the last barrier");
      if (write) {
        w.writer = me;
        w.written = true;
        w.copying = copy;
      } else {
        w.reader = w.reader == 0 || w.reader == me ? me : -1;
      }
    }
  }
  // All committed groups but the last `pending` ones arrive.
  void arrive(int pending) {
    Fiber& f = fibers_[static_cast<size_t>(current_)];
    for (; static_cast<int>(f.committed.size()) > pending; f.committed.pop_front())
      for (const Copy& c : f.committed.front()) {
        if (c.valid)
          std::memcpy(shared_memory_ + c.at, c.from, static_cast<size_t>(c.bytes));
        else
          std::memset(shared_memory_ + c.at, 0, static_cast<size_t>(c.bytes));
        for (int i = c.at / kWord; i < (c.at + c.bytes) / kWord; ++i) {
          Word& w = words_[static_cast<size_t>(i)];
          w.copying = false;
          w.writer = hooks.thread + 1;  // seen by others behind the next barrier
          w.reader = 0;
          w.epoch = epoch_;
        }
      }
  }

  void touch_shared(const void* place, uint64_t, int kind) {
    if (kind == 2) return fail("shared memory out of bounds");
    const bool write = kind == 1;
    SharedPlace& s = shared_[place];
    const int me = hooks.thread + 1;
    if (!write && !s.written) return fail("reads shared memory that was not written");
    if (s.writer != 0 && s.writer != me)
      return fail(format("touches shared memory that thread {} wrote since the last barrier",
                         s.writer - 1));
    if (write && s.reader != 0 && s.reader != me)
      return fail("overwrites shared memory that is read since the last barrier");
    if (write) {
      s.writer = me;
      s.written = true;
    } else {
      s.reader = s.reader == 0 || s.reader == me ? me : -1;
    }
  }

 public:
  struct OutOfBounds {};

 private:
  struct MemoryRange {
    uint64_t begin, end;
    std::vector<Touched> touched;
  };
  struct SharedPlace {
    int writer = 0, reader = 0;  // since the last barrier
    bool written = false;
  };
  struct Word {
    int writer = 0, reader = 0;  // since the barrier that began the epoch
    uint64_t epoch = 0;
    bool written = false, copying = false;
  };
  std::vector<MemoryRange> ranges_;
  std::vector<Word> words_;
  char* shared_memory_ = nullptr;
  uint64_t epoch_ = 1;
  std::unordered_map<const void*, SharedPlace> shared_;
  std::vector<Fiber> fibers_;
  std::vector<char*> stacks_;
  std::vector<int> order_;
  const std::function<void()>* body_ = nullptr;
  void* scheduler_ = nullptr;
  int current_ = 0;
  int64_t first_thread_ = 0;
};

}  // namespace

std::unique_ptr<HostModule> HostModule::compile(std::span<const gpu::KernelText> kernels,
                                                std::string& missing, bool optimised) {
  namespace fs = std::filesystem;
  missing.clear();
  static const bool compiler = std::system(CORTEN_TEST_CXX " --version >/dev/null 2>&1") == 0;
  if (!compiler) {
    missing = "no C++ compiler: " CORTEN_TEST_CXX;
    return nullptr;
  }
  static int number = 0;
  const fs::path folder =
      fs::temp_directory_path() / format("corten_gpu_{}_{}", getpid(), number++);
  fs::create_directories(folder);
  const std::string source = (folder / "kernels.cpp").string(),
                    library = (folder / "kernels.so").string(), log = (folder / "log").string();
  write_file_atomic(source, gpu::module_text(kernels));
  const std::string command = format(CORTEN_TEST_CXX
                                     " -std=c++17 -O{} -w -fPIC -shared -ffp-contract=off "
                                     "-fno-strict-aliasing -fwrapv -fno-builtin"
                                     " -mfma -DCORTEN_HOST -o {} {} >{} 2>&1",
                                     optimised ? 1 : 0, library, source, log);
  const bool compiled = std::system(command.c_str()) == 0;
  std::string problem = compiled ? "" : read_file(log).substr(0, 4000);
  auto out = std::make_unique<HostModule>();
  if (compiled) {
    out->library_ = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!out->library_) problem = dlerror();
  }
  if (!std::getenv("CORTEN_KEEP_KERNELS")) fs::remove_all(folder);
  if (!problem.empty()) internal_error("the text of a module is no C++: {}", problem);
  return out;
}

HostModule::~HostModule() {
  if (library_) dlclose(library_);
}

std::string HostModule::run(const gpu::KernelText& kernel, const int64_t* words, int launches,
                            int64_t blocks, std::span<const Range> memory, bool tracked,
                            uint64_t seed) const {
  void* function = dlsym(library_, kernel.name.c_str());
  auto** hooks = static_cast<Hooks**>(dlsym(library_, "corten_host"));
  if (!function || !hooks) return "there is no " + kernel.name;
  Machine& machine = Machine::the();
  *hooks = &machine.hooks;
  if (auto** tile_hooks = static_cast<TileHooks**>(dlsym(library_, "corten_tile_host")))
    *tile_hooks = &machine.tile_hooks;
  machine.set_shared(static_cast<char*>(dlsym(library_, "corten_shared")), kernel.shared_bytes);
  machine.begin(memory, tracked);
  std::mt19937_64 random(seed);
  const std::function<void()> body = [&] {
    if (kernel.grouped)
      reinterpret_cast<void (*)(const int64_t*, int)>(function)(words, launches);
    else
      reinterpret_cast<void (*)(const int64_t*)>(function)(words);
  };
  for (int64_t block = 0; block < blocks && machine.error.empty(); ++block) {
    try {
      machine.run_block(block, kernel.threads, kernel.collective, random, body);
    } catch (const Machine::OutOfBounds&) {
    }
  }
  return machine.error;
}

std::string HostModule::run(const gpu::KernelText& kernel, const int64_t* words, int64_t blocks,
                            std::span<const Range> memory, bool tracked, uint64_t seed) const {
  return run(kernel, words, 0, blocks, memory, tracked, seed);
}
std::string HostModule::run_group(const gpu::KernelText& kernel, const int64_t* table, int launches,
                                  int64_t blocks, std::span<const Range> memory, bool tracked,
                                  uint64_t seed) const {
  return run(kernel, table, launches, blocks, memory, tracked, seed);
}

}  // namespace corten::codegen::test
