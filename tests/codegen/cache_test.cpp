// The object cache on disk, and compilation by several threads.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "base/file.h"
#include "base/format.h"
#include "codegen/harness.h"
#include "codegen/jit.h"

namespace corten::codegen::test {
namespace {

using namespace ir;

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/corten-cache-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { remove_folder(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

Hash128 key(uint64_t n) {
  return {n, ~n};
}

// y = x * factor
Kernel scale(double factor) {
  Kernel k;
  k.operands = {{DType::f32, false}, {DType::f32, true}};
  k.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
  k.stores = {{1, (k.body.load(DType::f32, 0) * factor).id}};
  return k;
}

float run_scale(const CpuKernel& kernel, float x) {
  Launch launch;
  launch.inner = 1;
  launch.accesses.resize(2);
  float y = 0;
  void* pointers[] = {&x, &y};
  kernel.run(launch, pointers, 0, 1, 0, 1, nullptr, nullptr);
  return y;
}

TEST(ObjectCache, KeepsObjects) {
  const Folder folder;
  ObjectCache cache(join_path(folder.path(), "new/folder"), 1 << 20);
  EXPECT_FALSE(cache.load(key(1)));
  cache.store(key(1), "one");
  cache.store(key(2), std::string(5000, 'x'));
  EXPECT_EQ(cache.load(key(1)), "one");
  EXPECT_EQ(cache.load(key(2)), std::string(5000, 'x'));
  EXPECT_FALSE(cache.load(key(3)));
  // Another process.
  EXPECT_EQ(ObjectCache(join_path(folder.path(), "new/folder"), 1 << 20).load(key(1)), "one");
}

TEST(ObjectCache, IgnoresWhatIsDamaged) {
  const Folder folder;
  ObjectCache cache(folder.path(), 1 << 20);
  cache.store(key(1), "some object");
  const std::string file = join_path(folder.path(), hex(key(1)) + ".o"), good = read_file(file);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] ^= 1;
    write_file_atomic(file, bad);
    EXPECT_FALSE(cache.load(key(1))) << "byte " << i;
    write_file_atomic(file, good.substr(0, i));
    EXPECT_FALSE(cache.load(key(1))) << i << " bytes";
  }
  write_file_atomic(file, good + "x");
  EXPECT_FALSE(cache.load(key(1)));
  write_file_atomic(join_path(folder.path(), hex(key(2)) + ".o"),
                    good);  // the object of another key
  EXPECT_FALSE(cache.load(key(2)));
  cache.store(key(1), "some object");
  EXPECT_EQ(cache.load(key(1)), "some object");
  remove_file(file);
  ASSERT_EQ(mkdir(file.c_str(), 0755), 0);
  EXPECT_FALSE(cache.load(key(1)));
  cache.store(key(1), "some object");  // cannot replace a folder: without effect
}

TEST(ObjectCache, WorksWithoutAFolder) {
  const Folder folder;
  write_file_atomic(join_path(folder.path(), "file"), "");
  for (const std::string& path :
       {std::string(), std::string("/proc/corten"), join_path(folder.path(), "file/folder")}) {
    ObjectCache cache(path, 1 << 20);
    cache.store(key(1), "object");
    EXPECT_FALSE(cache.load(key(1))) << path;
    EXPECT_EQ(run_scale(*compile_cpu(scale(3), target_for(cpu_isa()), &cache), 2), 6);
  }
  ObjectCache none(folder.path(), 0);
  none.store(key(1), "object");
  EXPECT_FALSE(none.load(key(1)));
}

TEST(ObjectCache, SurvivesAFullDisk) {
  const Folder folder;
  ObjectCache cache(folder.path(), 1 << 20);
  cache.store(key(1), "object");
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit small = before;
  small.rlim_cur = 100;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  cache.store(key(2), std::string(1000, 'x'));
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_FALSE(cache.load(key(2)));
  EXPECT_EQ(list_folder(folder.path()).size(), 1u) << "a temporary file was left";
}

TEST(ObjectCache, RemovesTheLeastRecentlyUsed) {
  const Folder folder;
  const std::string object(10'000, 'x');
  ObjectCache cache(folder.path(), 100'000);
  const auto path = [&](uint64_t n) { return join_path(folder.path(), hex(key(n)) + ".o"); };
  const auto used = [&](uint64_t n, time_t when) {
    const timespec times[2] = {{when, 0}, {when, 0}};
    utimensat(AT_FDCWD, path(n).c_str(), times, 0);
  };
  const time_t day = 86'400, now = time(nullptr);
  for (uint64_t n = 0; n < 9; ++n) {
    cache.store(key(n), object);
    used(n, now - (20 - static_cast<time_t>(n)) * day);
  }
  EXPECT_TRUE(cache.load(key(0)));  // now the most recently used
  cache.store(key(9), object);
  EXPECT_TRUE(cache.load(key(0)));
  EXPECT_TRUE(cache.load(key(9)));
  EXPECT_FALSE(file_exists(path(1)));
  uint64_t bytes = 0;
  for (const std::string& name : list_folder(folder.path()))
    bytes += file_size(join_path(folder.path(), name));
  EXPECT_LE(bytes, 100'000u);
  EXPECT_GT(bytes, 50'000u);
  // An object larger than the bound is not kept at all.
  cache.store(key(10), std::string(200'000, 'x'));
  EXPECT_FALSE(file_exists(path(10)));
}

TEST(Compile, FromDisk) {
  const Folder folder;
  ObjectCache cache(folder.path(), 1 << 24);
  for (const Target& t : targets()) {
    const CompileStats before = compile_stats();
    EXPECT_EQ(run_scale(*compile_cpu(scale(5), t, &cache), 2), 10);
    EXPECT_EQ(compile_stats().compiled, before.compiled + 1)
        << "an object of another target was taken";
    EXPECT_EQ(run_scale(*compile_cpu(scale(5), t, &cache), 3), 15);
    EXPECT_EQ(compile_stats().compiled, before.compiled + 1);
    EXPECT_EQ(compile_stats().from_disk, before.from_disk + 1);
    EXPECT_EQ(run_scale(*compile_cpu(scale(7), t, &cache), 3), 21);
    EXPECT_EQ(compile_stats().compiled, before.compiled + 2);
  }
  for (const std::string& name : list_folder(folder.path()))
    write_file_atomic(join_path(folder.path(), name), "damaged");
  EXPECT_EQ(run_scale(*compile_cpu(scale(5), targets()[0], &cache), 4), 20);
}

// Files that are whole, but hold something else.
TEST(Compile, ReplacesWhatCannotBeLinked) {
  const Folder folder;
  ObjectCache cache(folder.path(), 1 << 24);
  const Target target = target_for(cpu_isa());
  EXPECT_EQ(run_scale(*compile_cpu(scale(11), target, &cache), 2), 22);
  const std::vector<std::string> files = list_folder(folder.path());
  ASSERT_EQ(files.size(), 1u);
  const std::string good = read_file(join_path(folder.path(), files[0]));
  Hash128 name;
  std::memcpy(&name, good.data() + 16, sizeof name);
  ASSERT_EQ(hex(name) + ".o", files[0]);
  for (const std::string& object : {std::string(), std::string("not an object"), std::string(5000, '\0')}) {
    cache.store(name, object);
    ASSERT_EQ(cache.load(name), object);
    const CompileStats before = compile_stats();
    EXPECT_EQ(run_scale(*compile_cpu(scale(11), target, &cache), 3), 33);
    EXPECT_EQ(compile_stats().compiled, before.compiled + 1);
    EXPECT_EQ(read_file(join_path(folder.path(), files[0])), good);
  }
}

TEST(Compile, FromAFolderThatCannotBeWritten) {
  const Folder folder;
  const Target target = target_for(cpu_isa());
  {
    ObjectCache cache(folder.path(), 1 << 24);
    EXPECT_EQ(run_scale(*compile_cpu(scale(13), target, &cache), 2), 26);
  }
  ASSERT_EQ(chmod(folder.path().c_str(), 0555), 0);
  ObjectCache cache(folder.path(), 1 << 24);
  const CompileStats before = compile_stats();
  EXPECT_EQ(run_scale(*compile_cpu(scale(13), target, &cache), 2), 26);
  EXPECT_EQ(compile_stats().from_disk, before.from_disk + 1);
  EXPECT_EQ(run_scale(*compile_cpu(scale(17), target, &cache), 2), 34);
  if (geteuid() != 0) EXPECT_EQ(list_folder(folder.path()).size(), 1u);
  ASSERT_EQ(chmod(folder.path().c_str(), 0755), 0);
}

// Processes that write the same objects at once, in a cache so small that they also remove each other's.
TEST(ObjectCache, ManyProcesses) {
  const Folder folder;
  const auto object = [](uint64_t n) { return std::string(2000 + 100 * n, static_cast<char>('a' + n)); };
  std::vector<pid_t> children;
  for (int c = 0; c < 4; ++c) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      int wrong = 0;
      ObjectCache cache(folder.path(), 30'000);
      for (uint64_t i = 0; i < 400; ++i) {
        const uint64_t n = (i * 7 + static_cast<uint64_t>(c)) % 20;
        cache.store(key(n), object(n));
        const auto found = cache.load(key((n + i) % 20));
        wrong += found && *found != object((n + i) % 20);
      }
      _exit(wrong ? 1 : 0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0) << "a process saw another object than was stored, or died";
  }
  uint64_t bytes = 0;
  for (const std::string& name : list_folder(folder.path())) {
    EXPECT_TRUE(name.ends_with(".o")) << name;
    bytes += file_size(join_path(folder.path(), name));
  }
  // Each process counts what it adds; the next one that looks takes the rest away.
  EXPECT_LE(bytes, 4 * 30'000u);
  ObjectCache(folder.path(), 30'000).store(key(1), object(1));
  bytes = 0;
  for (const std::string& name : list_folder(folder.path())) bytes += file_size(join_path(folder.path(), name));
  EXPECT_LE(bytes, 30'000u + 4'000);
}

TEST(Compile, ByManyThreads) {
  const Folder folder;
  ObjectCache cache(folder.path(), 1 << 24);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 6; ++i) {
        const double factor = 100 + i;
        wrong[t] +=
            run_scale(*compile_cpu(scale(factor), target_for(cpu_isa()), &cache), 2) != 2 * factor;
        wrong[t] += run_scale(*compile_cpu(scale(factor)), 2) != 2 * factor;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(Compile, OnceInMemory) {
  const CompileStats before = compile_stats();
  const auto first = compile_cpu(scale(123));
  EXPECT_EQ(compile_cpu(scale(123)), first);
  EXPECT_EQ(compile_stats().from_memory, before.from_memory + 1);
}

TEST(Compile, StructureDecides) {
  EXPECT_EQ(structure_hash(scale(2)), structure_hash(scale(2)));
  EXPECT_NE(structure_hash(scale(2)), structure_hash(scale(3)));
  Kernel streaming = scale(2), rank = scale(2), bf16 = scale(2), guarded = scale(2);
  streaming.stores[0].streaming = true;
  rank.outer_rank = 1;
  bf16.operands[1].dtype = DType::bf16;
  guarded.accesses[1].guards = 1;
  for (const Kernel& k : {streaming, rank, bf16, guarded})
    EXPECT_NE(structure_hash(k), structure_hash(scale(2)));
}

}  // namespace
}  // namespace corten::codegen::test
