#include "cli/args.h"

#include <gtest/gtest.h>

#include "corten/error.h"

namespace corten::cli {
namespace {

/// A verb with one option of every type.
struct Verb {
  std::string input, name = "x";
  std::vector<std::string> rest, sets;
  std::optional<std::string> prompt;
  int64_t count = 7;
  double rate = 0.5;
  std::vector<int64_t> ids;
  CommonFlags common;
  bool verbose = false;

  /// The error's text, "help", or "" if all went well.
  std::string parse(const Args& args) {
    ArgParser parser("try", "Tries.");
    parser.positional("INPUT", input, "a file");
    parser.positional("REST", rest, "more files", false);
    parser.option("-n,--name", name, "a name");
    parser.option("--set", sets, "several");
    parser.option("--prompt", prompt, "optional text");
    parser.option("--count", count, "an integer", {1, 10});
    parser.option("--rate", rate, "a number", {0, 1});
    parser.option("--ids", ids, "integers", {-100, 1000});
    parser.flag("--verbose", verbose, "a flag");
    common.add_to(parser);
    try {
      return parser.parse(args) ? "" : "help";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::Usage);
      EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
      return error.what();
    }
  }
};

TEST(Args, FillsVariables) {
  Verb v;
  EXPECT_EQ(v.parse({"in", "a", "b", "-n", "bob", "--set", "x=1", "--set=y=2", "--count", "3",
                     "--rate=1e-1", "--ids", "1,2", "--ids", "3", "--verbose", "--seed", "5",
                     "--device", "null", "--json"}),
            "");
  EXPECT_EQ(v.input, "in");
  EXPECT_EQ(v.rest, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(v.name, "bob");
  EXPECT_EQ(v.sets, (std::vector<std::string>{"x=1", "y=2"}));
  EXPECT_EQ(v.count, 3);
  EXPECT_EQ(v.rate, 0.1);
  EXPECT_EQ(v.ids, (std::vector<int64_t>{1, 2, 3}));
  EXPECT_TRUE(v.verbose && v.common.json);
  EXPECT_EQ(v.common.seed, 5);
  EXPECT_EQ(v.common.device, "null");
  EXPECT_FALSE(v.common.threads.has_value());
  EXPECT_FALSE(v.prompt.has_value());
}

TEST(Args, ValuesMayBeEmptyOrBeginWithADash) {
  Verb v;
  EXPECT_EQ(v.parse({"in", "--prompt", "", "--ids", "-100,5"}), "");
  EXPECT_EQ(v.prompt, "");
  EXPECT_EQ(v.ids, (std::vector<int64_t>{-100, 5}));
  Verb w;
  EXPECT_EQ(w.parse({"in", "--prompt", "--json is a flag", "--set", "a=[1, 2]"}), "");
  EXPECT_EQ(w.prompt, "--json is a flag");
  EXPECT_EQ(w.sets, std::vector<std::string>{"a=[1, 2]"});
  Verb x;
  EXPECT_EQ(x.parse({"--", "-in"}), "");
  EXPECT_EQ(x.input, "-in");
}

TEST(Args, TheLastValueCounts) {
  Verb v;
  EXPECT_EQ(v.parse({"in", "--count", "3", "--count", "4"}), "");
  EXPECT_EQ(v.count, 4);
}

TEST(Args, HelpWins) {
  Verb v;
  EXPECT_EQ(v.parse({"--help"}), "help");
  EXPECT_EQ(v.parse({"in", "--seed", "1", "-h"}), "help");
}

TEST(Args, Errors) {
  auto fault = [](const Args& args) { return Verb().parse(args); };
  EXPECT_EQ(fault({}), "corten try: INPUT is missing (see corten try --help)");
  EXPECT_EQ(fault({"in", "--cuont", "3"}),
            "corten try: unknown option --cuont; did you mean \"--count\"?");
  EXPECT_EQ(fault({"in", "--sed=3"}), "corten try: unknown option --sed; did you mean \"--set\"?");
  EXPECT_EQ(fault({"in", "--count", "ten"}), "corten try: --count takes an integer, not \"ten\"");
  EXPECT_EQ(fault({"in", "--count", "3.5"}), "corten try: --count takes an integer, not \"3.5\"");
  EXPECT_EQ(fault({"in", "--count", "0"}), "corten try: --count must be at least 1, is 0");
  EXPECT_EQ(fault({"in", "--count", "11"}), "corten try: --count must be at most 10, is 11");
  EXPECT_EQ(fault({"in", "--rate", "nan"}), "corten try: --rate takes a number, not \"nan\"");
  EXPECT_EQ(fault({"in", "--ids", "1,,2"}), "corten try: --ids takes an integer, not \"\"");
  EXPECT_EQ(fault({"in", "--device", "gpu"}),
            "corten try: --device must be one of cpu, cuda, null, is \"gpu\"; did you mean "
            "\"cpu\"?");
  EXPECT_EQ(fault({"in", "--count"}), "corten try: --count needs a value");
  EXPECT_EQ(fault({"in", "--verbose=3"}), "corten try: --verbose takes no value");
}

}  // namespace
}  // namespace corten::cli
