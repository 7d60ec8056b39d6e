#include <gtest/gtest.h>

#include "base/file.h"
#include "run_corten.h"
#include "temp_folder.h"

namespace corten::cli {
namespace {

/// Asserts the contract of failures: the exit code, one line on stderr, and with --json one document
/// {"error": {"kind", "message"}} on stdout.
void expect_failure(std::vector<std::string> args, int code, const std::string& kind,
                    const std::string& message) {
  Outcome plain = run_corten(args);
  EXPECT_EQ(plain.code, code) << message;
  EXPECT_EQ(plain.err, "error: " + message + "\n");
  EXPECT_EQ(plain.out, "");
  args.push_back("--json");
  Outcome json = run_corten(args);
  EXPECT_EQ(json.code, code) << message;
  const Json document = json.json();
  EXPECT_EQ(document.at("error").at("kind"), Json(kind));
  EXPECT_EQ(document.at("error").at("message"), Json(message));
}

TEST(Cli, VersionAndHelp) {
  const Outcome text = run_corten({"--version"});
  EXPECT_EQ(text.code, 0);
  EXPECT_TRUE(text.out.starts_with("corten ")) << text.out;
  const Json json = run_corten({"--version", "--json"}).json();
  EXPECT_TRUE(json.at("version").is_string());
  EXPECT_TRUE(json.at("isa").is_string());
  EXPECT_TRUE(json.at("cuda").at("available").is_bool());
  EXPECT_EQ(run_corten({"--version", "--json"}, "", {"CORTEN_ISA=avx2"}).json().at("isa"),
            Json("avx2"));
  const Outcome help = run_corten({"--help"});
  EXPECT_EQ(help.code, 0);
  EXPECT_NE(help.out.find("config"), std::string::npos);
  EXPECT_EQ(run_corten({"help", "config"}).out, run_corten({"config", "--help"}).out);
  EXPECT_EQ(run_corten({"config", "init", "--help"}).code, 0);
}

TEST(Cli, UsageErrors) {
  expect_failure({}, 2, "usage", "corten: a verb is missing (see corten --help)");
  expect_failure({"confg"}, 2, "usage",
                 "corten: unknown verb \"confg\"; did you mean \"config\"? (see corten --help)");
  expect_failure({"config"}, 2, "usage",
                 "corten config needs one of init, check, explain, schema");
  expect_failure({"config", "chek"}, 2, "usage",
                 "corten config: unknown verb \"chek\"; did you mean \"check\"? (one of init, check, "
                 "explain, schema)");
  expect_failure({"config", "check"}, 2, "usage",
                 "corten config check: CONFIG.toml is missing (see corten config check --help)");
  expect_failure({"config", "check", "x.toml", "--sed", "1"}, 2, "usage",
                 "corten config check: unknown option --sed; did you mean \"--set\"?");
}

TEST(Cli, BadEnvironmentIsAUsageError) {
  const Outcome outcome = run_corten({"--version"}, "", {"CORTEN_ISA=avx3"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_TRUE(outcome.err.starts_with("error: ")) << outcome.err;
}

TEST(Cli, UnwritableOutputIsAResourceError) {
  // A full device: everything that is flushed to it fails.
  const std::string command = std::string(CORTEN_BINARY) + " config schema >/dev/full 2>/dev/null";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 3);
}

TEST(Cli, ConfigInitCheckExplain) {
  const corten::testing::TempFolder folder;
  const std::string config = folder / "demo.toml", text = folder / "book.txt";
  write_file_atomic(text, "In the beginning\n");
  ASSERT_EQ(run_corten({"config", "init", config, "--text", text, "--set", "train.steps=7"}).code,
            0);
  expect_failure({"config", "init", config}, 2, "usage",
                 config + " exists already; --force replaces it");
  EXPECT_EQ(run_corten({"config", "check", config}).out, config + ": ok\n");

  Json explained = run_corten({"config", "explain", config, "--set", "optim.lr=1e-3", "--seed", "9",
                               "--json"},
                              "", {"CORTEN_TRAIN_BATCH=4"})
                       .json();
  EXPECT_EQ(explained.at("train.steps").at("value"), Json(7));
  EXPECT_EQ(explained.at("train.steps").at("from"), Json("file"));
  EXPECT_TRUE(explained.at("train.steps").at("where").as_string().starts_with(config + ":"));
  EXPECT_EQ(explained.at("train.batch").at("value"), Json(4));
  EXPECT_EQ(explained.at("train.batch").at("where"), Json("CORTEN_TRAIN_BATCH"));
  EXPECT_EQ(explained.at("optim.lr").at("from"), Json("--set"));
  EXPECT_EQ(explained.at("train.seed").at("where"), Json("--seed"));
  EXPECT_EQ(explained.at("model.n_embd").at("from"), Json("preset"));

  const std::string bad = folder / "bad.toml";
  write_file_atomic(bad, "[train]\nstesp = 3\n");
  expect_failure({"config", "check", bad}, 2, "usage",
                 bad + ":2: unknown key train.stesp; did you mean \"steps\"?");
  remove_file(text);
  EXPECT_EQ(run_corten({"config", "check", config}).code, 2);
}

TEST(Cli, ConfigSchemaIsJson) {
  const Json schema = run_corten({"config", "schema", "--json"}).json();
  EXPECT_EQ(schema.at("properties").at("train").at("properties").at("steps").at("type"),
            Json("integer"));
}

}  // namespace
}  // namespace corten::cli
