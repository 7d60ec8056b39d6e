#include "base/absent.h"

#include <filesystem>
#include <system_error>

#include "base/format.h"

namespace corten {

namespace fs = std::filesystem;

bool is_link(const std::string& path) noexcept {
  std::error_code error;
  return fs::is_symlink(fs::symlink_status(path, error));
}

std::string describe_absent(const std::string& path) {
  if (!is_link(path)) return format("there is no {}", path);
  std::error_code error;
  const std::string target = fs::read_symlink(path, error).string();
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status) && error == std::errc::too_many_symbolic_link_levels)
    return format("{} is a link to {}, which leads back to itself", path, target);
  return format("{} is a link to {}, which is not there", path, target);
}

}  // namespace corten
