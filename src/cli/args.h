// Parsing of a verb's command line into typed variables.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace corten::cli {

using Args = std::vector<std::string>;

/// Inclusive bounds of a number.
struct Range {
  double min = -1e300, max = 1e300;
};

/// Flags, options and positional arguments of one verb. Declare them with references to variables
/// that hold the defaults, then parse(). Names are given with their dashes ("--seed", "-o,--out").
class ArgParser {
 public:
  /// `verb` as typed after "corten" ("config init"), `summary` one line.
  ArgParser(std::string verb, std::string summary);
  ~ArgParser();
  ArgParser(const ArgParser&) = delete;
  ArgParser& operator=(const ArgParser&) = delete;

  void positional(const std::string& name, std::string& value, const std::string& help,
                  bool required = true);
  /// One or more values; none allowed unless required.
  void positional(const std::string& name, std::vector<std::string>& values,
                  const std::string& help, bool required = true);

  void flag(const std::string& names, bool& value, const std::string& help);
  void option(const std::string& names, std::string& value, const std::string& help);
  void option(const std::string& names, int64_t& value, const std::string& help, Range range = {});
  void option(const std::string& names, double& value, const std::string& help, Range range = {});
  void option(const std::string& names, std::optional<std::string>& value, const std::string& help);
  void option(const std::string& names, std::optional<int64_t>& value, const std::string& help,
              Range range = {});
  void option(const std::string& names, std::optional<double>& value, const std::string& help,
              Range range = {});
  /// May be given several times, one value each.
  void option(const std::string& names, std::vector<std::string>& values, const std::string& help);
  /// A comma-separated list of integers ("1,2,3"); may be given several times.
  void option(const std::string& names, std::vector<int64_t>& values, const std::string& help,
              Range range = {});
  /// One of `choices`.
  void choice(const std::string& names, std::string& value, const std::string& help,
              const std::vector<std::string>& choices);
  void choice(const std::string& names, std::optional<std::string>& value, const std::string& help,
              const std::vector<std::string>& choices);

  /// Text after the options in --help.
  void footer(std::string text);
  /// Fills the variables from `args` (without the verb). Returns false if --help was among them, in
  /// which case help() is to be printed and nothing was filled. Usage error, one line, with a
  /// did-you-mean for unknown options.
  bool parse(const Args& args);
  std::string help() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The flags that mean the same for every verb that computes.
struct CommonFlags {
  std::optional<std::string> device, dtype;
  std::optional<int64_t> threads, seed;
  bool json = false;

  /// `quantised`: --dtype may be int8 or int4 too.
  void add_to(ArgParser& parser, bool quantised = false);
};

}  // namespace corten::cli
