#include "cuda/plugin/library.h"

#include <glob.h>
#include <link.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

namespace corten::cuda {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

void add_matching(const std::string& pattern, std::vector<std::string>& folders) {
  glob_t found{};
  if (glob(pattern.c_str(), GLOB_ONLYDIR, nullptr, &found) == 0)
    for (size_t i = 0; i < found.gl_pathc; ++i)
      folders.push_back(std::string(found.gl_pathv[i]) + "/");
  globfree(&found);
}

}  // namespace

std::vector<std::string> library_folders() {
  std::vector<std::string> folders;
  const std::string own = variable("CORTEN_CUDA_LIBRARIES");
  for (size_t begin = 0; begin < own.size();) {
    const size_t end = std::min(own.find(':', begin), own.size());
    if (end > begin) folders.push_back(own.substr(begin, end - begin) + "/");
    begin = end + 1;
  }
  folders.push_back("");
  for (const std::string& home :
       {variable("CUDA_HOME"), variable("CUDA_PATH"), std::string("/usr/local/cuda")})
    if (!home.empty())
      for (const char* inside : {"/lib64/", "/lib/", "/targets/x86_64-linux/lib/",
                                 "/extras/CUPTI/lib64/"})
        folders.push_back(home + inside);
  for (const std::string& prefix :
       {variable("VIRTUAL_ENV"), variable("CONDA_PREFIX"), variable("HOME") + "/.local",
        std::string("/usr/local"), std::string("/usr")})
    if (!prefix.empty())
      for (const char* packages : {"site-packages", "dist-packages"})
        add_matching(prefix + "/lib/python3*/" + packages + "/nvidia/*/lib", folders);
  return folders;
}

std::vector<std::string> library_names(const std::string& stem, int driver_version) {
  const std::string name = stem + ".so";
  const int first = driver_version > 0 && driver_version < 13000 ? 12 : 13;
  return {name + "." + std::to_string(first), name + "." + std::to_string(25 - first), name};
}

Library::Library(const std::vector<std::string>& names) {
  static const std::vector<std::string> folders = library_folders();
  for (const std::string& name : names)
    for (const std::string& folder : folders) {
      handle_ = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!handle_) continue;
      path_ = folder + name;
      const link_map* map = nullptr;
      if (dlinfo(handle_, RTLD_DI_LINKMAP, &map) == 0 && map && *map->l_name) path_ = map->l_name;
      return;
    }
}

std::string Library::build() const {
  struct stat file {};
  if (stat(path_.c_str(), &file) != 0) return "";
  return std::to_string(file.st_size) + " " + std::to_string(file.st_mtim.tv_sec);
}

}  // namespace corten::cuda
