// Where results and errors of the command line go: results to stdout, all else to stderr.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace corten::cli {

/// Exit codes of the command line, besides 75 and 130 of base/signals.h.
inline constexpr int kOk = 0, kRunFailed = 1, kUsage = 2, kResource = 3;

/// Writes to stdout. A failure shows in flush_output().
void print_text(std::string_view text);
/// One JSON document and a line feed on stdout.
void print_json(const Json& document);
/// A line on stderr; line breaks in it become spaces.
void print_note(std::string_view line);
/// "error: message" on one line of stderr and, if `json`, {"error":{"kind","message"}} on stdout.
void print_error(std::string_view kind, std::string_view message, bool json);
/// Hands everything to the system. Resource error if stdout could not be written.
void flush_output();

}  // namespace corten::cli
