#include "codegen/object_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <vector>

#include "base/env.h"
#include "base/file.h"
#include "base/format.h"

namespace corten::codegen {
namespace {

struct Header {
  char magic[8];
  uint64_t size;
  Hash128 key, content;
};
constexpr char kMagic[8] = {'C', 'O', 'R', 'T', 'E', 'N', 'O', '1'};
constexpr const char* kSuffix = ".o";
constexpr uint64_t kMaxObject = 64 << 20;
constexpr time_t kTouchAfter = 3600;  // seconds: how stale the time of use of a file may be
constexpr time_t kTemporariesLive =
    3600;  // seconds until a file that a killed process left is removed

class File {
 public:
  File(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  File(const File&) = delete;
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }
  bool read_all(void* to, size_t bytes) const {
    auto* p = static_cast<char*>(to);
    while (bytes > 0) {
      const ssize_t n = ::read(fd_, p, bytes);
      if (n <= 0) return false;
      p += n;
      bytes -= static_cast<size_t>(n);
    }
    return true;
  }
  bool write_all(const void* from, size_t bytes) const {
    auto* p = static_cast<const char*>(from);
    while (bytes > 0) {
      const ssize_t n = ::write(fd_, p, bytes);
      if (n <= 0) return false;
      p += n;
      bytes -= static_cast<size_t>(n);
    }
    return true;
  }

 private:
  int fd_;
};

}  // namespace

ObjectCache::ObjectCache(std::string folder, uint64_t max_bytes)
    : folder_(max_bytes > 0 ? std::move(folder) : ""), max_bytes_(max_bytes) {}

std::string ObjectCache::path(const Hash128& key) const {
  return join_path(folder_, hex(key) + kSuffix);
}

std::optional<std::string> ObjectCache::load(const Hash128& key) {
  if (folder_.empty()) return std::nullopt;
  const std::string name = path(key);
  const File file(name, O_RDONLY);
  struct stat info;
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  Header header;
  if (!file.read_all(&header, sizeof header) ||
      std::memcmp(header.magic, kMagic, sizeof kMagic) != 0 || header.key != key ||
      header.size > kMaxObject ||
      static_cast<uint64_t>(info.st_size) != sizeof header + header.size)
    return std::nullopt;
  std::string object(header.size, '\0');
  if (!file.read_all(object.data(), object.size()) || hash128(object) != header.content)
    return std::nullopt;
  if (std::time(nullptr) - info.st_mtime > kTouchAfter) futimens(file.fd(), nullptr);
  return object;
}

void ObjectCache::store(const Hash128& key, std::string_view object) {
  if (folder_.empty() || sizeof(Header) + object.size() > max_bytes_) return;
  std::lock_guard lock(mutex_);
  if (!known_) {
    try {
      create_folders(folder_);
    } catch (const Error&) {
      folder_.clear();
      return;
    }
    evict();
    known_ = true;
  }
  Header header{{}, object.size(), key, hash128(object)};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  // No flush to the device: what a power cut damages is found by its hash.
  const std::string name = path(key),
                    temporary = format("{}.{}.{}.tmp", name, getpid(), written_++);
  {
    const File file(temporary, O_WRONLY | O_CREAT | O_EXCL);
    if (file.fd() < 0) return;
    if (!file.write_all(&header, sizeof header) || !file.write_all(object.data(), object.size())) {
      unlink(temporary.c_str());
      return;
    }
  }
  if (rename(temporary.c_str(), name.c_str()) != 0) {
    unlink(temporary.c_str());
    return;
  }
  bytes_ += sizeof header + object.size();
  if (bytes_ > max_bytes_) evict();
}

// Looks at all files; removes the least recently used ones until a tenth is free, if they are too
// large together.
void ObjectCache::evict() {
  struct Entry {
    time_t used;
    uint64_t bytes;
    std::string name;
  };
  std::vector<Entry> entries;
  DIR* folder = opendir(folder_.c_str());
  if (!folder) return;
  bytes_ = 0;
  while (const dirent* entry = readdir(folder)) {
    const std::string_view name = entry->d_name;
    struct stat info;
    if (!name.ends_with(kSuffix) && !name.ends_with(".tmp")) continue;
    if (fstatat(dirfd(folder), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(info.st_mode))
      continue;
    if (name.ends_with(".tmp")) {
      if (std::time(nullptr) - info.st_mtime > kTemporariesLive)
        unlinkat(dirfd(folder), entry->d_name, 0);
      continue;
    }
    bytes_ += static_cast<uint64_t>(info.st_size);
    entries.push_back({info.st_mtime, static_cast<uint64_t>(info.st_size), std::string(name)});
  }
  if (bytes_ > max_bytes_) {
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return a.used < b.used; });
    for (const Entry& e : entries) {
      if (bytes_ <= max_bytes_ - max_bytes_ / 10) break;
      if (unlinkat(dirfd(folder), e.name.c_str(), 0) == 0) bytes_ -= e.bytes;
    }
  }
  closedir(folder);
}

ObjectCache& object_cache() {
  static ObjectCache cache = [] {
    std::string folder;
    if (auto own = env_string("CORTEN_CACHE_DIR"))
      folder = *own;
    else if (auto xdg = env_string("XDG_CACHE_HOME"); xdg && xdg->starts_with('/'))  // relative ones are to be ignored
      folder = join_path(*xdg, "corten");
    else if (auto home = env_string("HOME"))
      folder = join_path(*home, ".cache/corten");
    if (!folder.empty()) folder = join_path(folder, "objects");
    const int64_t mib = std::max<int64_t>(env_int("CORTEN_CACHE_MB", 256), 0);
    return ObjectCache(folder, static_cast<uint64_t>(std::min<int64_t>(mib, 1 << 20)) << 20);
  }();
  return cache;
}

}  // namespace corten::codegen
