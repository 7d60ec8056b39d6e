// The only file that includes CLI11, which splits the command line and lays out the help; values
// are converted here.
#include "cli/args.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>

#include "base/format.h"
#include "base/strings.h"

namespace corten::cli {
namespace {

/// A complete number within `range`; Usage error that begins with `name` otherwise.
template <typename T>
T parse_number(const std::string& name, const std::string& text, Range range) {
  T value{};
  const char* begin = text.data() + (text.starts_with('+') ? 1 : 0);
  const char* end = text.data() + text.size();
  auto [stop, error] = std::from_chars(begin, end, value);
  const double number = static_cast<double>(value);
  if (error != std::errc() || stop != end || std::isnan(number))
    usage_error("{} takes {}, not \"{}\"", name, std::is_integral_v<T> ? "an integer" : "a number",
                text);
  if (number < range.min) usage_error("{} must be at least {}, is {}", name, range.min, text);
  if (number > range.max) usage_error("{} must be at most {}, is {}", name, range.max, text);
  return value;
}

void check_choice(const std::string& name, const std::string& text,
                  const std::vector<std::string>& choices) {
  if (std::find(choices.begin(), choices.end(), text) == choices.end())
    usage_error("{} must be one of {}, is \"{}\"{}", name, fmt::join(choices, ", "), text,
                did_you_mean(text, choices));
}

/// Shows options as "--seed N" without CLI11's marks for types and defaults.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() { column_width(34); }
  std::string make_option_opts(const CLI::Option* option) const override {
    const bool bare = option->get_items_expected_max() == 0 || option->get_positional();
    return bare ? "" : " " + option->get_type_name();
  }
};

}  // namespace

struct ArgParser::State {
  /// Converts one value of the option `name`.
  using Store = std::function<void(const std::string& name, const std::string& text)>;
  struct Valued {
    CLI::Option* option;
    Store store;
  };

  std::string verb;
  CLI::App app;
  std::vector<Valued> valued;

  CLI::Option* add(const std::string& names, const char* value_name, const std::string& help,
                   Store store) {
    CLI::Option* option =
        app.add_option(names, [](const CLI::results_t&) { return true; }, help)
            ->type_name(value_name)
            ->expected(1);
    valued.push_back({option, std::move(store)});
    return option;
  }
  CLI::Option* add_repeated(const std::string& names, const char* value_name,
                            const std::string& help, Store store) {
    return add(names, value_name, help, std::move(store))
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  }
  /// "--device" of "-d,--device", "INPUT" of a positional.
  static std::string shown_name(const CLI::Option* option) {
    const auto& names = option->get_lnames();
    return names.empty() ? option->get_name() : "--" + names.front();
  }
  [[noreturn]] void fail_unknown(const std::vector<std::string>& extras) const {
    std::vector<std::string> known;
    for (const CLI::Option* option : app.get_options())
      for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
    for (const std::string& extra : extras)
      if (extra.size() > 1 && extra.starts_with('-')) {
        const std::string name = extra.substr(0, extra.find('='));
        usage_error("corten {}: unknown option {}{}", verb, name, did_you_mean(name, known));
      }
    usage_error("corten {}: unexpected argument \"{}\"", verb, extras.front());
  }
};

ArgParser::ArgParser(std::string verb, std::string summary) : state_(std::make_unique<State>()) {
  state_->verb = std::move(verb);
  state_->app.name("corten " + state_->verb);
  state_->app.description(summary);
  state_->app.set_help_flag("-h,--help", "show this help");
  state_->app.formatter(std::make_shared<HelpFormatter>());
  state_->app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}
ArgParser::~ArgParser() = default;

void ArgParser::positional(const std::string& name, std::string& value, const std::string& help,
                           bool required) {
  state_
      ->add(name, "TEXT", help,
            [&value](const std::string&, const std::string& text) { value = text; })
      ->required(required);
}
void ArgParser::positional(const std::string& name, std::vector<std::string>& values,
                           const std::string& help, bool required) {
  state_
      ->add_repeated(name, "TEXT", help,
                     [&values](const std::string&, const std::string& text) {
                       values.push_back(text);
                     })
      ->required(required)
      ->expected(required ? 1 : 0, 1 << 20)
      ->allow_extra_args();
}

void ArgParser::flag(const std::string& names, bool& value, const std::string& help) {
  state_->app.add_flag(names, value, help);
}

void ArgParser::option(const std::string& names, std::string& value, const std::string& help) {
  state_->add(names, "TEXT", help,
              [&value](const std::string&, const std::string& text) { value = text; });
}
void ArgParser::option(const std::string& names, std::optional<std::string>& value,
                       const std::string& help) {
  state_->add(names, "TEXT", help,
              [&value](const std::string&, const std::string& text) { value = text; });
}
void ArgParser::option(const std::string& names, int64_t& value, const std::string& help,
                       Range range) {
  state_->add(names, "N", help, [&value, range](const std::string& name, const std::string& text) {
    value = parse_number<int64_t>(name, text, range);
  });
}
void ArgParser::option(const std::string& names, std::optional<int64_t>& value,
                       const std::string& help, Range range) {
  state_->add(names, "N", help, [&value, range](const std::string& name, const std::string& text) {
    value = parse_number<int64_t>(name, text, range);
  });
}
void ArgParser::option(const std::string& names, double& value, const std::string& help,
                       Range range) {
  state_->add(names, "X", help, [&value, range](const std::string& name, const std::string& text) {
    value = parse_number<double>(name, text, range);
  });
}
void ArgParser::option(const std::string& names, std::optional<double>& value,
                       const std::string& help, Range range) {
  state_->add(names, "X", help, [&value, range](const std::string& name, const std::string& text) {
    value = parse_number<double>(name, text, range);
  });
}
void ArgParser::option(const std::string& names, std::vector<std::string>& values,
                       const std::string& help) {
  state_->add_repeated(
      names, "TEXT", help,
      [&values](const std::string&, const std::string& text) { values.push_back(text); });
}
void ArgParser::option(const std::string& names, std::vector<int64_t>& values,
                       const std::string& help, Range range) {
  state_->add_repeated(names, "N,N,...", help,
                       [&values, range](const std::string& name, const std::string& text) {
                         for (const std::string& part : split(text, ','))
                           values.push_back(parse_number<int64_t>(name, part, range));
                       });
}
void ArgParser::choice(const std::string& names, std::string& value, const std::string& help,
                       const std::vector<std::string>& choices) {
  state_->add(names, "NAME", format("{} ({})", help, fmt::join(choices, ", ")),
              [&value, choices](const std::string& name, const std::string& text) {
                check_choice(name, text, choices);
                value = text;
              });
}
void ArgParser::choice(const std::string& names, std::optional<std::string>& value,
                       const std::string& help, const std::vector<std::string>& choices) {
  state_->add(names, "NAME", format("{} ({})", help, fmt::join(choices, ", ")),
              [&value, choices](const std::string& name, const std::string& text) {
                check_choice(name, text, choices);
                value = text;
              });
}

void ArgParser::footer(std::string text) { state_->app.footer(std::move(text)); }

bool ArgParser::parse(const Args& args) {
  CLI::App& app = state_->app;
  // CLI11 takes a value that begins with a dash for an option; behind '=' it does not.
  Args joined;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "--") {
      joined.insert(joined.end(), args.begin() + i, args.end());
      break;
    }
    const size_t equals = arg.find('=');
    const CLI::Option* option =
        arg.starts_with("--") ? app.get_option_no_throw(arg.substr(0, equals)) : nullptr;
    if (option && option->get_expected_max() == 0 && equals != std::string::npos)
      usage_error("corten {}: {} takes no value", state_->verb, arg.substr(0, equals));
    const bool takes_value =
        option && option->get_expected_min() > 0 && equals == std::string::npos;
    if (takes_value && i + 1 == args.size())
      usage_error("corten {}: {} needs a value", state_->verb, arg);
    if (takes_value && args[i + 1].size() > 1 && args[i + 1][0] == '-')
      joined.push_back(arg + "=" + args[++i]);
    else
      joined.push_back(arg);
  }
  try {
    app.parse(Args(joined.rbegin(), joined.rend()));
  } catch (const CLI::CallForHelp&) {
    return false;
  } catch (const CLI::ExtrasError&) {
    state_->fail_unknown(app.remaining());
  } catch (const CLI::RequiredError& error) {
    for (const CLI::Option* option : app.get_options())
      if (option->get_required() && option->count() == 0)
        usage_error("corten {}: {} is missing (see corten {} --help)", state_->verb,
                    State::shown_name(option), state_->verb);
    usage_error("corten {}: {}", state_->verb, error.what());
  } catch (const CLI::ParseError& error) {
    usage_error("corten {}: {}", state_->verb, error.what());
  }
  for (const auto& [option, store] : state_->valued)
    for (const std::string& text : option->reduced_results())
      store(format("corten {}: {}", state_->verb, State::shown_name(option)), text);
  return true;
}

std::string ArgParser::help() const { return state_->app.help(); }

void CommonFlags::add_to(ArgParser& parser, bool quantised) {
  parser.choice("--device", device, "where to compute", {"cpu", "cuda", "null"});
  parser.option("--threads", threads, "CPU threads; 0: all", {0, 1024});
  parser.option("--seed", seed, "seed of every random number", {0, 9.2e18});
  std::vector<std::string> dtypes = {"f32", "bf16", "f16"};
  if (quantised) dtypes.insert(dtypes.end(), {"int8", "int4"});
  parser.choice("--dtype", dtype, "compute type in training, weight type in inference", dtypes);
  parser.flag("--json", json, "print one JSON document to stdout");
}

}  // namespace corten::cli
