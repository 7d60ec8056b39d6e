#include "train/bench.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "corten/error.h"
#include "train/device_peak.h"
#include "train/quickstart.h"
#include "training.h"

namespace corten::testing {
namespace {

BenchTrainOptions small_bench() {
  BenchTrainOptions options;
  options.model = "gpt2-mini";
  options.layers = 1;
  options.batch = 2;
  options.seq = 16;
  options.steps = 2;
  options.threads = 1;
  return options;
}

TEST(BenchTrain, FieldsAgree) {
  std::vector<int64_t> heard;
  const BenchTrainResult r =
      bench_train(small_bench(), [&](int64_t step, double) { heard.push_back(step); });
  EXPECT_EQ(heard, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(r.params, 256 * (50257 + 256) + 12 * 256 * 256 + 13 * 256 + 2 * 256);
  EXPECT_EQ(r.steps, 2);
  EXPECT_EQ(r.threads, 1);
  EXPECT_LE(r.step_ms_min, r.step_ms_median);
  EXPECT_LE(r.step_ms_median, r.step_ms_max);
  EXPECT_NEAR(r.tokens_per_s, 2 * 16 / (r.step_ms_median * 1e-3), 1e-6 * r.tokens_per_s);
  // Projections and head: 2 FLOP per weight and token; attention: two products over the causal half
  // of T x T; backward takes twice the forward pass.
  const double tokens = 2 * 16, width = 256;
  const double forward =
      2 * tokens * (12 * width * width + 50257 * width) + 2 * (2 * 2 * 16 * 16 * width) / 2;
  EXPECT_NEAR(r.flops_per_step, 3 * forward, 0.002 * forward);
  EXPECT_GT(r.peak_flops, 1e9);
  EXPECT_NEAR(r.mfu_measured, r.flops_per_step / (r.step_ms_median * 1e-3) / r.peak_flops, 1e-9);
  EXPECT_GT(r.peak_bytes, 12u * static_cast<uint64_t>(r.params));
  EXPECT_LE(r.peak_bytes, r.planned_peak_bytes + 8192);
  EXPECT_GT(r.rss_peak_bytes, r.rss_start_bytes);
  EXPECT_GT(r.compile_ms, 0);
  EXPECT_GT(r.first_step_ms, 0);
  EXPECT_NEAR(r.loss_first, 10.8, 0.5);  // log(50257)
}

TEST(BenchTrain, DigestIsThatOfTheContract) {
  BenchTrainOptions options = small_bench();
  const BenchTrainResult compiled = bench_train(options);
  options.compile = false;
  options.threads = 2;
  const BenchTrainResult eager = bench_train(options);
  EXPECT_EQ(compiled.digest, eager.digest);
  EXPECT_EQ(compiled.loss_last, eager.loss_last);
  EXPECT_EQ(eager.planned_peak_bytes, 0u);
  EXPECT_GT(eager.peak_bytes, 12u * static_cast<uint64_t>(eager.params));
  options.seed = 2;
  EXPECT_NE(bench_train(options).digest, eager.digest);
}

TEST(BenchTrain, Errors) {
  BenchTrainOptions options = small_bench();
  options.seq = 257;
  EXPECT_THROW(bench_train(options), Error);
  options = small_bench();
  options.model = "gpt2-minni";
  EXPECT_THROW(bench_train(options), Error);
  options = small_bench();
  options.device = "cuda";
  EXPECT_THROW(bench_train(options), Error);
}

TEST(BenchGenerate, FieldsAgree) {
  BenchGenerateOptions options;
  options.model = "gpt2-mini";
  options.prompt_tokens = 8;
  options.new_tokens = 4;
  options.batch = 2;
  const BenchGenerateResult r = bench_generate(options);
  EXPECT_GT(r.prefill_tokens_per_s, 0);
  EXPECT_GT(r.decode_tokens_per_s, 0);
  EXPECT_EQ(r.weight_bytes, 4u * (256 * (50257 + 256) + 4 * (12 * 256 * 256 + 13 * 256) + 2 * 256));
  EXPECT_GT(r.bandwidth_fraction, 0);
  EXPECT_GT(r.peak_bytes, r.weight_bytes);
  EXPECT_GT(r.load_ms, 0);
  EXPECT_GT(r.first_token_ms, r.load_ms);
  options.dtype = DType::bf16;
  EXPECT_EQ(bench_generate(options).weight_bytes, r.weight_bytes / 2);
  options.prompt_tokens = 256;
  EXPECT_THROW(bench_generate(options), Error);
}

TEST(BenchOp, FieldsAgree) {
  BenchOpOptions options;
  options.op = "softmax";
  options.shapes = {"256x512"};
  const BenchOpResult r = bench_op(options);
  const double bytes = 2.0 * 256 * 512 * 4;
  EXPECT_NEAR(r.gbytes_per_s, bytes / (r.ms_median * 1e-3) * 1e-9, 1e-6 * r.gbytes_per_s);
  EXPECT_EQ(r.gflops_per_s, 0);
  EXPECT_GT(r.floor_ms, 0);
  EXPECT_GT(r.ms_min, 0);
  EXPECT_LE(r.ms_min, r.ms_median);
  EXPECT_GT(r.copy_gbytes_per_s, 0);
  EXPECT_GT(r.bandwidth_fraction, 0);
  options.op = "layer_norm_grad";
  const BenchOpResult g = bench_op(options);
  EXPECT_NEAR(g.gbytes_per_s, 1.5 * bytes / (g.ms_median * 1e-3) * 1e-9, 1e-6 * g.gbytes_per_s);
  options.op = "matmul";
  options.shapes = {"64x128", "128x32"};
  const BenchOpResult m = bench_op(options);
  EXPECT_NEAR(m.gflops_per_s, 2.0 * 64 * 128 * 32 / (m.ms_median * 1e-3) * 1e-9,
              1e-6 * m.gflops_per_s);
}

TEST(BenchOp, Errors) {
  const auto fault = [](const std::string& op, std::vector<std::string> shapes) -> std::string {
    BenchOpOptions options;
    options.op = op;
    options.shapes = std::move(shapes);
    try {
      bench_op(options);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      return error.what();
    }
    return "";
  };
  EXPECT_NE(fault("sofmax", {"4x4"}).find("did you mean \"softmax\""), std::string::npos);
  EXPECT_NE(fault("softmax", {"4x"}).find("\"4x\" is no shape"), std::string::npos);
  EXPECT_NE(fault("softmax", {"4x4", "4x4"}).find("takes 1 operands, 2 shapes"), std::string::npos);
  EXPECT_NE(fault("matmul", {"4x5", "4x5"}), "");
}

TEST(DevicePeak, KnownAndUnknown) {
  EXPECT_EQ(theoretical_peak_flops("NVIDIA H200", DType::bf16, 1), 989.4e12);
  EXPECT_EQ(theoretical_peak_flops("NVIDIA A100-SXM4-80GB", DType::f32, 1), 19.5e12);
  EXPECT_EQ(theoretical_peak_flops("NVIDIA H100 80GB HBM3", DType::f8_e4m3, 1), 1979e12);
  EXPECT_FALSE(theoretical_peak_flops("NVIDIA A100-SXM4-80GB", DType::f8_e4m3, 1));
  EXPECT_EQ(theoretical_peak_flops("AMD EPYC 7763 64-Core Processor", DType::f32, 4),
            4 * 32 * 3.5e9);
  EXPECT_FALSE(theoretical_peak_flops("Intel(R) Xeon(R) Processor", DType::bf16, 2));
  EXPECT_FALSE(theoretical_peak_flops("NVIDIA H200", DType::f64, 1));
}

TEST(Quickstart, WholePath) {
  TempFolder folder;
  const std::string text = folder / "text.txt";
  write_file_atomic(text, synthetic_text(100'000));
  QuickstartOptions options;
  options.text = text;
  options.steps = 6;
  options.out = folder / "run";
  const QuickstartResult r = quickstart(options, {});
  EXPECT_EQ(r.train.steps, 6);
  ASSERT_TRUE(r.train.val_loss);
  EXPECT_LT(*r.train.val_loss, r.val_loss_before);
  // Sixteen words with and without a full stop: below log2 of their tokens, above nothing.
  EXPECT_GT(r.unigram_entropy, 2);
  EXPECT_LT(r.unigram_entropy, 4);
  EXPECT_FALSE(r.prompt.empty());
  EXPECT_FALSE(r.sample.empty());
  EXPECT_EQ(read_file(text).find(r.prompt), 0u);
  EXPECT_EQ(r.train.run, options.out);
  EXPECT_TRUE(file_exists(r.train.model_dir + "/model.safetensors"));
  EXPECT_THROW(quickstart(options, {}), Error);  // the folder holds a run now
}

}  // namespace
}  // namespace corten::testing
