// corten quantize, and what loads its folders, as a user types them.
#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "base/format.h"
#include "run_corten.h"
#include "temp_folder.h"

namespace corten::cli {
namespace {

class QuantizeVerb : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::string text;
    for (int i = 0; i < 400; ++i)
      text += format("Line {} tells of a small model that learns number {}.\n", i, i * i % 97);
    write_file_atomic(book(), text);
    write_file_atomic(shared() / "demo.toml",
                      format("[model]\nmodel_type = \"gpt2\"\nn_layer = 2\nn_embd = 64\nn_head = "
                             "2\nn_positions = 64\n"
                             "[tokenizer]\nvocab_size = 300\n[data]\ntext = [\"{}\"]\nseq = 32\n"
                             "[train]\nsteps = 30\nbatch = 4\nout = \"{}\"\n[optim]\nlr = 5e-3\n",
                             book(), model()));
    const Outcome trained = corten({"train", shared() / "demo.toml", "--json"});
    ASSERT_EQ(trained.code, 0) << trained.err;
  }
  static const corten::testing::TempFolder& shared() {
    static const corten::testing::TempFolder folder;
    return folder;
  }
  static std::string book() { return shared() / "book.txt"; }
  static std::string model() { return shared() / "run"; }
  static Outcome corten(const std::vector<std::string>& args) {
    return run_corten(args, "", {"CORTEN_CACHE_DIR=" + (shared() / "cache")});
  }
  static void expect_usage(const std::vector<std::string>& args, const std::string& part) {
    const Outcome o = corten(args);
    EXPECT_EQ(o.code, 2) << o.err;
    EXPECT_NE(o.err.find(part), std::string::npos) << o.err;
    EXPECT_EQ(std::count(o.err.begin(), o.err.end(), '\n'), 1) << o.err;
  }
  const corten::testing::TempFolder folder_;
};

TEST_F(QuantizeVerb, WritesReportsAndLoads) {
  const Outcome plain = corten({"eval-logits", model(), "--input-ids", "1,2,3,4", "--json"});
  ASSERT_EQ(plain.code, 0) << plain.err;
  for (const char* bits : {"8", "4"}) {
    const std::string out = folder_ / bits;
    const Outcome made = corten({"quantize", model(), "--bits", bits, "--report", book(),
                                 "--report-tokens", "500", "-o", out, "--json"});
    ASSERT_EQ(made.code, 0) << made.err;
    const Json json = made.json();
    EXPECT_EQ(json.at("bits").as_int(), bits[0] - '0');
    EXPECT_EQ(json.at("model_dir").as_string(), out);
    EXPECT_LT(json.at("bytes_after").as_double(),
              json.at("bytes_before").as_double() * 0.45);  // of f32
    const Json& report = json.at("report");
    EXPECT_EQ(report.at("tokens").as_int(), 500);
    const Json& kl = report.at("kl");
    EXPECT_GT(kl.at("mean").as_double(), 0);
    EXPECT_LT(kl.at("mean").as_double(), bits[0] == '8' ? 0.002 : 0.1);
    EXPECT_LE(kl.at("median").as_double(), kl.at("p99").as_double());
    EXPECT_LE(kl.at("p99").as_double(), kl.at("max").as_double());
    EXPECT_GT(report.at("same_top_token").as_double(), bits[0] == '8' ? 0.95 : 0.8);
    const double before = report.at("perplexity_before").as_double(),
                 after = report.at("perplexity_after").as_double();
    EXPECT_LT(std::fabs(std::log(after / before)), bits[0] == '8' ? 0.01 : 0.1);

    const Outcome logits = corten({"eval-logits", out, "--input-ids", "1,2,3,4", "--json"});
    ASSERT_EQ(logits.code, 0) << logits.err;
    EXPECT_EQ(logits.json().at("shape"), plain.json().at("shape"));
    const Outcome text =
        corten({"generate", out, "--prompt", "Line 7", "--max-new-tokens", "5", "--json"});
    EXPECT_EQ(text.code, 0) << text.err;
    const Outcome bench = corten({"bench", "generate", "--model", out, "--prompt-tokens", "8",
                                  "--new-tokens", "4", "--json"});
    ASSERT_EQ(bench.code, 0) << bench.err;
    EXPECT_EQ(bench.json().at("weight_bytes"), json.at("bytes_after"));
    // A reader of text sees the same.
    const Outcome human = corten({"quantize", model(), "--bits", bits, "--report", book(),
                                  "--report-tokens", "500", "-o", out + "b"});
    ASSERT_EQ(human.code, 0) << human.err;
    for (const char* part : {"KL divergence", "perplexity", "instead of"})
      EXPECT_NE(human.out.find(part), std::string::npos) << human.out;
    EXPECT_EQ(read_file(out + "b/model.safetensors"), read_file(out + "/model.safetensors"));
  }
}

TEST_F(QuantizeVerb, LoadedInEightOrFourBits) {
  double bytes[3];
  int i = 0;
  for (const char* dtype : {"bf16", "int8", "int4"}) {
    const Outcome o = corten({"bench", "generate", "--model", model(), "--dtype", dtype,
                              "--prompt-tokens", "8", "--new-tokens", "4", "--json"});
    ASSERT_EQ(o.code, 0) << o.err;
    bytes[i++] = o.json().at("weight_bytes").as_double();
  }
  EXPECT_LT(bytes[1], 0.62 * bytes[0]);
  EXPECT_LT(bytes[2], bytes[1]);
}

TEST_F(QuantizeVerb, WrongInput) {
  const std::string out = folder_ / "q";
  expect_usage({"quantize", model()}, "--bits");
  expect_usage({"quantize", model(), "--bits", "3"}, "one of 8, 4");
  expect_usage({"quantize", model(), "--bits", "8", "--group-size", "32"}, "--group-size");
  expect_usage({"quantize", model(), "--bits", "4", "--outlier-threshold", "0.5", "-o", out},
               "0.5");
  expect_usage({"quantize", folder_ / "none", "--bits", "8"}, "none");
  expect_usage({"quantize", model(), "--bits", "8", "--report", folder_ / "no.txt", "-o", out},
               "no.txt");
  EXPECT_FALSE(path_exists(out)) << "nothing was written";
  write_file_atomic(folder_ / "empty.txt", "");
  expect_usage({"quantize", model(), "--bits", "8", "--report", folder_ / "empty.txt", "-o", out},
               "two");
  ASSERT_EQ(corten({"quantize", model(), "--bits", "8", "-o", out}).code, 0);
  expect_usage({"quantize", model(), "--bits", "8", "-o", out}, "holds a model already");
  expect_usage({"quantize", out, "--bits", "4", "-o", folder_ / "twice"},
               "quantised to 8 bits already");
  expect_usage({"bench", "generate", "--model", out, "--dtype", "int4"},
               "quantised to 8 bits already");
  expect_usage({"generate", model(), "--prompt", "x", "--dtype", "int8"}, "--dtype");
}

}  // namespace
}  // namespace corten::cli
