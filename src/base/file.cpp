#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/format.h"
#include "base/strings.h"

namespace corten {
namespace {

std::string error_text(int error) {
  return std::generic_category().message(error);
}

bool is_disk_full(int error) noexcept {
  return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

// Errors of the caller's making (paths and permissions) are Usage, those of the machine Resource.
[[noreturn]] void path_error(const char* action, const std::string& path, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EACCES:
    case EPERM:
    case ELOOP:
    case ENAMETOOLONG:
    case EEXIST:
    case EINVAL:
    case EROFS:
    case EXDEV:
      usage_error("cannot {} {}: {}", action, path, error_text(error));
    default:
      resource_error("cannot {} {}: {}", action, path, error_text(error));
  }
}

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

int open_retrying(const char* path, int flags, mode_t mode = 0) noexcept {
  for (;;) {
    const int fd = ::open(path, flags | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

// Opens a regular file for reading. O_NONBLOCK: a named pipe must not make the caller wait.
int open_regular(const std::string& path, struct stat& info) {
  const int fd = open_retrying(path.c_str(), O_RDONLY | O_NONBLOCK);
  if (fd < 0) path_error("read", path, errno);
  if (::fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    path_error("read", path, error);
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    usage_error("cannot read {}: it is {}", path,
                S_ISDIR(info.st_mode) ? "a folder" : "no regular file");
  }
  return fd;
}

void sync_descriptor(int fd, const std::string& path) {
  while (::fsync(fd) != 0) {
    if (errno == EINTR) continue;
    if (errno == EINVAL || errno == EROFS) return;  // a file system without fsync
    const int error = errno;
    struct stat info{};
    const bool sized = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
    const std::string size = sized ? format(" ({} bytes)", info.st_size) : std::string();
    if (is_disk_full(error))
      resource_error("disk full: cannot write {}{}: {}", path, size, error_text(error));
    resource_error("cannot flush {}{} to the device: {}", path, size, error_text(error));
  }
}

void sync_tree(const std::string& folder) {
  for (const std::string& name : list_folder(folder)) {
    const std::string path = join_path(folder, name);
    struct stat info{};
    if (::lstat(path.c_str(), &info) != 0) path_error("read", path, errno);
    if (S_ISDIR(info.st_mode)) {
      sync_tree(path);
    } else if (S_ISREG(info.st_mode)) {
      const Descriptor fd(open_retrying(path.c_str(), O_RDONLY));
      if (fd.get() < 0) path_error("flush", path, errno);
      sync_descriptor(fd.get(), path);
    }
  }
  sync_folder(folder);
}

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

std::string read_file(const std::string& path, uint64_t max_bytes) {
  struct stat info{};
  const Descriptor fd(open_regular(path, info));
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > max_bytes)
    usage_error("{} holds {} bytes; at most {} are expected", path, size, max_bytes);
  std::string bytes;
  bytes.resize(static_cast<size_t>(size));
  size_t done = 0;
  // Files of /proc report size 0, so reading goes on to the end of the file in any case.
  for (;;) {
    if (done == bytes.size())
      bytes.resize(done + (done == size ? 1 : std::max<size_t>(done, 4096)));
    const ssize_t count = ::read(fd.get(), bytes.data() + done, bytes.size() - done);
    if (count == 0) break;
    if (count < 0) {
      if (errno == EINTR) continue;
      resource_error("cannot read {} at byte {}: {}", path, done, error_text(errno));
    }
    done += static_cast<size_t>(count);
    if (done > max_bytes) usage_error("{} holds more than {} bytes", path, max_bytes);
  }
  bytes.resize(done);
  return bytes;
}

void read_pieces(const std::string& path,
                 const std::function<void(std::span<const std::byte>)>& take) {
  struct stat info{};
  const Descriptor fd(open_regular(path, info));
  std::vector<std::byte> piece(size_t{1} << 20);
  for (uint64_t done = 0;;) {
    const ssize_t count = ::read(fd.get(), piece.data(), piece.size());
    if (count == 0) return;
    if (count < 0) {
      if (errno == EINTR) continue;
      resource_error("cannot read {} at byte {}: {}", path, done, error_text(errno));
    }
    take(std::span(piece).first(static_cast<size_t>(count)));
    done += static_cast<uint64_t>(count);
  }
}

bool file_exists(const std::string& path) noexcept {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISREG(info.st_mode);
}
bool folder_exists(const std::string& path) noexcept {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}
bool path_exists(const std::string& path) noexcept {
  struct stat info{};
  return ::lstat(path.c_str(), &info) == 0;
}

uint64_t file_size(const std::string& path) {
  struct stat info{};
  if (::stat(path.c_str(), &info) != 0) path_error("read", path, errno);
  if (!S_ISREG(info.st_mode))
    usage_error("cannot read {}: it is {}", path,
                S_ISDIR(info.st_mode) ? "a folder" : "no regular file");
  return static_cast<uint64_t>(info.st_size);
}

std::vector<std::string> list_folder(const std::string& path) {
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) path_error("list", path, errno);
  std::vector<std::string> names;
  int error = 0;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir);
    if (entry == nullptr) {
      error = errno;
      break;
    }
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(dir);
  if (error != 0) path_error("list", path, error);
  std::sort(names.begin(), names.end());
  return names;
}

void create_folders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  // Some errors are reported for "a/" and for races although the folder is there.
  if (error && !folder_exists(path)) {
    if (error.value() == EEXIST || error.value() == ENOTDIR)
      usage_error("cannot create the folder {}: a part of the path is a file", path);
    path_error("create the folder", path, error.value());
  }
  if (!folder_exists(path)) usage_error("cannot create the folder {}: it is a file", path);
}

void remove_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) path_error("remove", path, error.value());
}

void remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) path_error("remove", path, errno);
}

std::string parent_path(const std::string& path) {
  const std::string clean = without_trailing_slash(path);
  const size_t slash = clean.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : clean.substr(0, slash);
}

std::string base_name(const std::string& path) {
  const std::string clean = without_trailing_slash(path);
  return clean.substr(clean.rfind('/') + 1);  // npos + 1 = 0
}

std::string join_path(std::string_view folder, std::string_view name) {
  if (folder.empty() || (!name.empty() && name.front() == '/')) return std::string(name);
  std::string path(folder);
  if (path.back() != '/') path += '/';
  return path += name;
}

void sync_folder(const std::string& path) {
  const Descriptor fd(open_retrying(path.c_str(), O_RDONLY | O_DIRECTORY));
  if (fd.get() < 0) path_error("flush the folder", path, errno);
  sync_descriptor(fd.get(), path);
}

// ---- AtomicFile

// The file is written without a name (O_TMPFILE) where the file system can do that, so that a
// killed process leaves nothing behind; it gets a temporary name just before the move.
AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  static std::atomic<uint64_t> counter{0};
  if (path_.empty() || path_.back() == '/' || folder_exists(path_))
    usage_error("cannot write {}: it is a folder", path_.empty() ? "\"\"" : path_);
  const std::string folder = parent_path(path_);
  temporary_ = join_path(folder, format(".{}.{}-{}.tmp", base_name(path_), ::getpid(), counter++));
  fd_ = open_retrying(folder.c_str(), O_WRONLY | O_TMPFILE, 0666);
  if (fd_ < 0) {
    fd_ = open_retrying(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd_ < 0) path_error("write", path_, errno);
    named_ = true;
  }
  struct stat old{};
  if (::stat(path_.c_str(), &old) == 0 && ::fchmod(fd_, old.st_mode & 07777) != 0) {
    const int error = errno;
    discard();
    path_error("set the mode of", path_, error);
  }
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::discard() noexcept {
  if (fd_ < 0) return;
  ::close(fd_);
  fd_ = -1;
  if (named_) ::unlink(temporary_.c_str());
  named_ = false;
}

void AtomicFile::write_all(std::span<const std::byte> bytes, uint64_t offset) {
  CORTEN_CHECK(fd_ >= 0, "write after commit");
  constexpr size_t kLargest = size_t{1} << 30;  // the kernel writes at most 2^31 - 4096 at once
  size_t done = 0;
  while (done < bytes.size()) {
    const size_t length = std::min(bytes.size() - done, kLargest);
    const ssize_t count =
        ::pwrite(fd_, bytes.data() + done, length, static_cast<off_t>(offset + done));
    if (count >= 0) {
      done += static_cast<size_t>(count);
      continue;
    }
    const int error = errno;
    if (error == EINTR) continue;
    const uint64_t reached = offset + done;
    discard();
    if (is_disk_full(error))
      resource_error(
          "disk full: cannot write {}: {} bytes ({}) were to be added after {} bytes: {}", path_,
          bytes.size() - done, format_bytes(bytes.size() - done), reached, error_text(error));
    resource_error("cannot write {} at byte {}: {}", path_, reached, error_text(error));
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  write_all(bytes, size_);
  size_ += bytes.size();
}
void AtomicFile::write(std::string_view bytes) {
  write(std::as_bytes(std::span(bytes.data(), bytes.size())));
}
void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  CORTEN_CHECK(offset <= size_ && bytes.size() <= size_ - offset, "write_at beyond the end");
  write_all(bytes, offset);
}

void AtomicFile::commit() {
  CORTEN_CHECK(fd_ >= 0, "commit after commit");
  try {
    sync_descriptor(fd_, path_);
    if (!named_) {
      const std::string self = format("/proc/self/fd/{}", fd_);
      ::unlink(temporary_.c_str());  // left by a killed process that had the same id
      if (::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, temporary_.c_str(), AT_SYMLINK_FOLLOW) != 0)
        path_error("write", path_, errno);
      named_ = true;
    }
    if (::rename(temporary_.c_str(), path_.c_str()) != 0) path_error("write", path_, errno);
    named_ = false;
    discard();
  } catch (...) {
    discard();
    throw;
  }
  sync_folder(parent_path(path_));
}

void write_file_atomic(const std::string& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}
void write_file_atomic(const std::string& path, std::string_view bytes) {
  write_file_atomic(path, std::as_bytes(std::span(bytes.data(), bytes.size())));
}

// ---- folders

void replace_folder_atomic(const std::string& tmp_dir, const std::string& final_dir,
                           bool exchange) {
  const std::string from = without_trailing_slash(tmp_dir), to = without_trailing_slash(final_dir);
  if (!folder_exists(from)) usage_error("cannot move {} to {}: no such folder", from, to);
  if (path_exists(to) && !folder_exists(to)) usage_error("cannot replace {}: it is no folder", to);
  sync_tree(from);
  const std::string parent = parent_path(to);
  if (!path_exists(to)) {
    if (::rename(from.c_str(), to.c_str()) != 0) path_error("create", to, errno);
    sync_folder(parent);
    return;
  }
  if (exchange) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) == 0) {
      sync_folder(parent);
      remove_folder(from);
      return;
    }
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) path_error("replace", to, errno);
  }
  const std::string old = to + ".old";
  remove_folder(old);
  if (::rename(to.c_str(), old.c_str()) != 0) path_error("replace", to, errno);
  if (::rename(from.c_str(), to.c_str()) != 0) {
    const int error = errno;
    if (::rename(old.c_str(), to.c_str()) != 0)
      resource_error("cannot move {} to {}: {}; the previous content is in {}", from, to,
                     error_text(error), old);
    path_error("replace", to, error);
  }
  sync_folder(parent);
  remove_folder(old);
}

bool recover_folder(const std::string& final_dir) {
  const std::string to = without_trailing_slash(final_dir), old = to + ".old";
  if (path_exists(to) || !folder_exists(old)) return false;
  if (::rename(old.c_str(), to.c_str()) != 0) path_error("restore", to, errno);
  sync_folder(parent_path(to));
  return true;
}

// ---- MappedFile

MappedFile::MappedFile(const std::string& path) : path_(path) {
  struct stat info{};
  const Descriptor fd(open_regular(path, info));
  size_ = static_cast<size_t>(info.st_size);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED)
    resource_error("cannot map {} ({}) into memory: {}", path, format_bytes(size_),
                   error_text(errno));
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::prefetch() const noexcept {
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_WILLNEED);
}

}  // namespace corten
