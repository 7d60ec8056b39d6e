// What the execution on the CPU must find: kernels that a GPU would run with luck.
#include <gtest/gtest.h>

#include "base/format.h"
#include "cuda/attention/texts.h"
#include "cuda/binaries.h"
#include "gpu/host_gpu.h"

namespace corten::codegen::test {
namespace {

gpu::KernelText kernel(const std::string& body, bool collective = true) {
  static int number = 0;
  gpu::KernelText k;
  k.name = format("k_test{}", number++);
  k.text = format(
      "KERNEL({}, 64, 2) {{\n  float* out = (float*)a.w[0];\n  const float* in = (const "
      "float*)a.w[1];\n{}\n}}\n",
      k.name, body);
  k.threads = 64;
  k.words = 2;
  k.collective = collective;
  k.library = cuda::tile_text();
  k.shared_bytes = 512;
  return k;
}

// The first error of several orders of threads.
std::string run(const std::string& body, bool collective = true) {
  const gpu::KernelText k = kernel(body, collective);
  std::string missing;
  const auto module = HostModule::compile({&k, 1}, missing);
  if (!module) return missing;
  alignas(64) float out[128] = {}, in[128];
  for (int i = 0; i < 128; ++i) in[i] = static_cast<float>(i);
  const int64_t words[] = {reinterpret_cast<int64_t>(out), reinterpret_cast<int64_t>(in)};
  const HostModule::Range memory[] = {{out, sizeof out}, {in, sizeof in}};
  for (uint64_t seed = 0; seed < 6; ++seed)
    if (std::string error = module->run(k, words, 2, memory, true, seed); !error.empty())
      return error;
  return "";
}

bool compiler_here() {
  std::string missing;
  const gpu::KernelText k = kernel("");
  return HostModule::compile({&k, 1}, missing) != nullptr;
}

class Machine : public testing::Test {
  void SetUp() override {
    static const bool here = compiler_here();
    if (!here) GTEST_SKIP() << "no C++ compiler";
  }
};

// Turns the threads' values round through shared memory.
std::string reverse(const std::string& between) {
  return "  SHARED(float, m, 64);\n  m[THREAD] = read(in + BLOCK * 64 + THREAD);\n  " + between +
         "\n  write(out + BLOCK * 64 + THREAD, (float)m[63 - THREAD]);";
}

TEST_F(Machine, RunsWhatIsRight) {
  EXPECT_EQ(run(reverse("BARRIER();")), "");
  EXPECT_EQ(run("  float x = read(in + BLOCK * 64 + THREAD);\n  for (int m = 16; m > 0; m /= 2) x "
                "= x + SHUFFLE(x, m);\n"
                "  write(out + BLOCK * 64 + THREAD, x);"),
            "");
}
TEST_F(Machine, FindsAMissingBarrier) {
  const std::string error = run(reverse(""));
  EXPECT_TRUE(error.find("shared memory") != std::string::npos) << error;
}
TEST_F(Machine, FindsABarrierThatSomeThreadsSkip) {
  const std::string error = run("  if (THREAD < 10) return;\n  BARRIER();");
  EXPECT_TRUE(error.find("wait for each other") != std::string::npos) << error;
}
TEST_F(Machine, FindsAShuffleThatSomeLanesSkip) {
  const std::string error =
      run("  float x = 1;\n  if (THREAD % 2) x = SHUFFLE(x, 1);\n  write(out + BLOCK * 64 + "
          "THREAD, x);");
  EXPECT_TRUE(error.find("wait for each other") != std::string::npos) << error;
}
TEST_F(Machine, FindsSharedMemoryThatNobodyWrote) {
  const std::string error =
      run("  SHARED(float, m, 64);\n  if (THREAD > 0) m[THREAD] = 1.0f;\n  BARRIER();\n"
          "  write(out + BLOCK * 64 + THREAD, (float)m[THREAD]);");
  EXPECT_TRUE(error.find("was not written") != std::string::npos) << error;
}
TEST_F(Machine, FindsTwoWritersOfOnePlace) {
  const std::string error = run("  write(out + THREAD, 1.0f);", false);  // both blocks
  EXPECT_TRUE(error.find("overwrites") != std::string::npos) << error;
}
TEST_F(Machine, FindsAReaderOfWhatAnotherWrites) {
  const std::string error =
      run("  const float x = read(out + (BLOCK * 64 + THREAD + 1) % 128);\n  write(out + BLOCK * "
          "64 + THREAD, x);",
          false);
  EXPECT_FALSE(error.empty());
}
TEST_F(Machine, FindsAccessesOutside) {
  const std::string above = run("  write(out + BLOCK * 64 + THREAD + 1, 1.0f);", false),
                    below = run("  read(in + BLOCK * 64 + THREAD - 1);");
  EXPECT_TRUE(above.find("outside of all operands") != std::string::npos) << above;
  EXPECT_TRUE(below.find("outside of all operands") != std::string::npos) << below;
}
TEST_F(Machine, FindsPacksThatAreNotAligned) {
  const std::string error =
      run("  float x[4];\n  if (BLOCK == 0 && THREAD == 0) read_pack(x, in + 1);", false);
  EXPECT_TRUE(error.find("not aligned") != std::string::npos) << error;
}

// Turns the threads' values round through copies that are under way while the thread goes on.
std::string reverse_copied(const std::string& between, const std::string& before = "") {
  return "  copy_async<4>(4 * THREAD, in + BLOCK * 64 + THREAD, THREAD < 60);\n  "
         "commit_copies();\n" +
         before + "  " + between +
         "\n  float x[1];\n  read_shared(x, 4 * (63 - THREAD));\n"
         "  write(out + BLOCK * 64 + THREAD, x[0]);";
}

TEST_F(Machine, RunsCopies) {
  EXPECT_EQ(run(reverse_copied("wait_for_copies<0>(); BARRIER();")), "");
}
TEST_F(Machine, FindsACopyThatNobodyWaitedFor) {
  const std::string error = run(reverse_copied("BARRIER();"));
  EXPECT_TRUE(error.find("a copy is on its way to") != std::string::npos) << error;
  const std::string at_end = run("  copy_async<4>(4 * THREAD, in + THREAD, true);");
  EXPECT_TRUE(at_end.find("ends before its copies") != std::string::npos) << at_end;
}
TEST_F(Machine, FindsAWaitForAnOlderCopy) {
  // The last group may still be under way.
  const std::string error = run(reverse_copied("wait_for_copies<1>(); BARRIER();"));
  EXPECT_TRUE(error.find("a copy is on its way to") != std::string::npos) << error;
  EXPECT_EQ(run(reverse_copied("wait_for_copies<1>(); BARRIER();", "  commit_copies();\n") +
                "\n  wait_for_copies<0>();"),
            "");
}
TEST_F(Machine, FindsACopyThatIsReadWithoutABarrier) {
  const std::string error = run(reverse_copied("wait_for_copies<0>();"));
  EXPECT_TRUE(error.find("shared memory that") != std::string::npos) << error;
}
TEST_F(Machine, FindsACopyOverWhatOthersRead) {
  const std::string error =
      run(reverse_copied("wait_for_copies<0>(); BARRIER();") +
          "\n  copy_async<4>(4 * THREAD, in + THREAD, true);\n  commit_copies();\n"
          "  wait_for_copies<0>();");
  EXPECT_TRUE(error.find("shared memory that") != std::string::npos) << error;
}
TEST_F(Machine, FindsSharedMemoryThatTheLaunchHasNot) {
  const std::string error = run("  const float x[1] = {1};\n  write_shared(4 * THREAD + 260, x);");
  EXPECT_TRUE(error.find("of shared memory, which has 512") != std::string::npos) << error;
}
TEST_F(Machine, FindsAProductThatSomeLanesSkip) {
  const std::string error =
      run("  float c[4] = {0, 0, 0, 0};\n  const uint32 words[4] = {0, 0, 0, 0};\n"
          "  if (THREAD % 32 != 7) multiply_tiles<true>(c, words, 0, 0);");
  EXPECT_TRUE(error.find("wait for each other") != std::string::npos) << error;
}

TEST(Resources, AreReadFromTheCompilersLog) {
  const auto r = cuda::parse_resources(
      "ptxas info    : 0 bytes gmem\nptxas info    : Compiling entry function 'k_1' for 'sm_90'\n"
      "ptxas info    : Function properties for k_1\n    128 bytes stack frame, 12 bytes spill "
      "stores, 24 bytes spill loads\n"
      "ptxas info    : Used 40 registers, used 1 barriers, 128 bytes cumulative stack size, 64 "
      "bytes smem\n");
  ASSERT_EQ(r.size(), 1u);
  EXPECT_EQ(r[0].name, "k_1");
  EXPECT_EQ(r[0].registers, 40);
  EXPECT_EQ(r[0].shared_bytes, 64);
  EXPECT_EQ(r[0].stack_bytes, 128);
  EXPECT_EQ(r[0].spill_store_bytes, 12);
  EXPECT_EQ(r[0].spill_load_bytes, 24);
}

}  // namespace
}  // namespace corten::codegen::test
