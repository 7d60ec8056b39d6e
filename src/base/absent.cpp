#include "base/absent.h"

#include <filesystem>
#include <system_error>

#include "base/file.h"
#include "base/format.h"

namespace corten {

namespace fs = std::filesystem;

bool is_link(const std::string& path) noexcept {
  std::error_code error;
  return fs::is_symlink(fs::symlink_status(path, error));
}

namespace {

/// What is wrong with `path`, a link whose end is no file; "" for links that lead somewhere.
std::string describe_link(const std::string& path) {
  std::error_code error;
  const std::string target = fs::read_symlink(path, error).string();
  if (fs::exists(fs::status(path, error))) return "";
  return format("{} is a link to {}, which {}", path, target,
                error == std::errc::too_many_symbolic_link_levels ? "leads back to itself"
                                                                  : "is not there");
}

}  // namespace

std::string describe_absent(const std::string& path) {
  for (fs::path part = path; !part.empty(); part = part.parent_path()) {
    if (is_link(part.string()))
      if (std::string text = describe_link(part.string()); !text.empty()) return text;
    if (part == part.parent_path()) break;
  }
  return format("there is no {}", path);
}

bool has_file(const std::string& path) {
  if (file_exists(path)) return true;
  std::error_code error;
  const fs::file_status status = fs::symlink_status(path, error);
  if (fs::is_symlink(status) || error == std::errc::too_many_symbolic_link_levels)
    if (const std::string text = describe_absent(path); !text.starts_with("there is no"))
      usage_error("cannot read {}: {}", path, text);
  if (fs::exists(status))
    usage_error("cannot read {}: it is {}", path,
                folder_exists(path) ? "a folder" : "no regular file");
  return false;
}

}  // namespace corten
