#include "cli/output.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "base/format.h"

namespace corten::cli {
namespace {

std::string one_line(std::string_view text) {
  std::string line(text);
  for (char& c : line)
    if (c == '\n' || c == '\r') c = ' ';
  return line;
}

}  // namespace

void print_text(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void print_json(const Json& document) { print_text(document.dump() + "\n"); }

void print_note(std::string_view line) {
  const std::string text = one_line(line) + "\n";
  std::fwrite(text.data(), 1, text.size(), stderr);
}

void print_error(std::string_view kind, std::string_view message, bool json) {
  print_note(format("error: {}", message));
  if (json)
    print_json(Json::object({{"error", Json::object({{"kind", kind}, {"message", message}})}}));
}

void flush_output() {
  const bool failed = std::fflush(stdout) != 0 || std::ferror(stdout);
  if (failed) resource_error("cannot write to stdout: {}", std::strerror(errno));
}

}  // namespace corten::cli
