// Typed reading of environment variables (CORTEN_*). An empty variable counts as unset.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace corten {

std::optional<std::string> env_string(const char* name);
/// Values of a variable of another type, or `fallback` if unset. Usage error naming the variable
/// and its text if it does not parse.
int64_t env_int(const char* name, int64_t fallback);
double env_double(const char* name, double fallback);
/// 1/true/yes/on and 0/false/no/off, in any case.
bool env_bool(const char* name, bool fallback);
/// "2GiB", "500MB", "4096" (base/strings.h).
uint64_t env_bytes(const char* name, uint64_t fallback);
/// A comma-separated list; empty entries are dropped, white space around entries too.
std::vector<std::string> env_list(const char* name);

}  // namespace corten
