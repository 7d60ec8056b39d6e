// Why a file is not there.
#pragma once

#include <string>

namespace corten {

/// Whether `path` itself is a link, wherever it leads.
bool is_link(const std::string& path) noexcept;
/// "there is no PATH", or what is wrong with the link that PATH is: "PATH is a link to TARGET,
/// which is not there". The broken link may be any part of the path.
std::string describe_absent(const std::string& path);
/// Whether the file is there that may be missing; false if nothing is. Usage error if there is
/// something that cannot be read as a file: a folder, or a link that leads nowhere or to itself.
bool has_file(const std::string& path);

}  // namespace corten
