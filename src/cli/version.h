// What this binary is and what it finds on this machine.
#pragma once

#include <string>

#include "base/json.h"

namespace corten::cli {

/// {"version", "isa", "cpu", "cores", "cuda": {"available", "reason" or "driver", "devices"}}.
Json version_json();
/// The same for people.
std::string version_text();

}  // namespace corten::cli
