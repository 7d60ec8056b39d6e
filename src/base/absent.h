// Why a file is not there.
#pragma once

#include <string>

namespace corten {

/// Whether `path` itself is a link, wherever it leads.
bool is_link(const std::string& path) noexcept;
/// "there is no PATH", or what is wrong with the link that PATH is: "PATH is a link to TARGET,
/// which is not there".
std::string describe_absent(const std::string& path);

}  // namespace corten
