// String formatting and error raising. The only file that includes {fmt}.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "corten/error.h"

namespace corten {

using fmt::format;

template <typename... Args>
[[noreturn]] void usage_error(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(ErrorKind::Usage, fmt::format(text, std::forward<Args>(args)...));
}
template <typename... Args>
[[noreturn]] void resource_error(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(ErrorKind::Resource, fmt::format(text, std::forward<Args>(args)...));
}
template <typename... Args>
[[noreturn]] void internal_error(fmt::format_string<Args...> text, Args&&... args) {
  throw Error(ErrorKind::Internal,
              fmt::format(text, std::forward<Args>(args)...) + " (a fault of Corten: please report)");
}

}  // namespace corten

/// Checks an invariant of Corten itself; never used on user input.
#define CORTEN_CHECK(condition, ...)                                        \
  do {                                                                      \
    if (!(condition)) ::corten::internal_error("check failed: " #condition ": " __VA_ARGS__); \
  } while (0)
