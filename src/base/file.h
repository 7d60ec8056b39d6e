// Files and folders: reading, memory mapping, and writing that never damages what was there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace corten {

/// The bytes of a regular file. Usage error if there is none, it may not be read or holds more than
/// `max_bytes`; Resource error if reading fails.
std::string read_file(const std::string& path,
                      uint64_t max_bytes = std::numeric_limits<uint64_t>::max());

/// The same bytes, piece by piece of at most 1 MiB. Errors as read_file().
void read_pieces(const std::string& path,
                 const std::function<void(std::span<const std::byte>)>& take);

bool file_exists(const std::string& path) noexcept;    ///< a regular file (links followed)
bool folder_exists(const std::string& path) noexcept;  ///< a folder (links followed)
bool path_exists(const std::string& path) noexcept;    ///< anything
/// Size in bytes. Usage error if `path` is no regular file.
uint64_t file_size(const std::string& path);
/// Names (not paths) of the entries of a folder, sorted; without "." and "..".
std::vector<std::string> list_folder(const std::string& path);

/// Creates a folder and its parents; nothing happens to those that exist.
void create_folders(const std::string& path);
/// Removes a folder with everything in it, or a file. Links are removed, not followed. Nothing
/// happens if there is none.
void remove_folder(const std::string& path);
void remove_file(const std::string& path);

/// "a/b/c.txt" -> "a/b", "c.txt" -> "."; the part before the last '/'.
std::string parent_path(const std::string& path);
std::string join_path(std::string_view folder, std::string_view name);
/// The part after the last '/'.
std::string base_name(const std::string& path);

/// Writes a file next to its destination and moves it there when it is complete: readers see the
/// old content or the new one, also after a crash or kill -9 at any moment. Unless commit() was
/// called the destructor discards what was written.
class AtomicFile {
 public:
  /// Usage error if the folder does not exist or may not be written.
  explicit AtomicFile(std::string path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  /// Appends bytes. Resource error naming the path and the bytes if the disk is full.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view bytes);
  /// Overwrites bytes at an offset, inside what was already written (for headers).
  void write_at(uint64_t offset, std::span<const std::byte> bytes);
  uint64_t size() const noexcept { return size_; }
  /// Flushes to the device, moves the file to its place and flushes the folder. Keeps the mode of
  /// a file that it replaces.
  void commit();

 private:
  void write_all(std::span<const std::byte> bytes, uint64_t offset);
  void discard() noexcept;

  std::string path_, temporary_;
  int fd_ = -1;
  bool named_ = false;  // `temporary_` exists in the folder
  uint64_t size_ = 0;
};

/// AtomicFile in one call.
void write_file_atomic(const std::string& path, std::string_view bytes);
void write_file_atomic(const std::string& path, std::span<const std::byte> bytes);

/// Moves the folder `tmp_dir` (on the same file system) to `final_dir` and replaces what was there
/// in one step: all files are flushed first, then the two are exchanged, then the old one is
/// removed. A kill -9 at any moment leaves a whole folder, old or new, at `final_dir`; `tmp_dir`
/// may be left over and can be removed. Where the file system cannot exchange names (or `exchange`
/// is false), there is a moment in which the old folder is called "<final_dir>.old" only;
/// recover_folder() puts it back.
void replace_folder_atomic(const std::string& tmp_dir, const std::string& final_dir,
                           bool exchange = true);
/// Finishes a replacement that was interrupted on a file system without exchange: if `final_dir` is
/// missing and "<final_dir>.old" exists, the latter is put back. True if that happened. Cheap.
bool recover_folder(const std::string& final_dir);

/// Flushes a folder's list of names to the device.
void sync_folder(const std::string& path);

/// A file mapped into memory for reading. If another process truncates the file while it is mapped,
/// reading the missing pages is fatal (SIGBUS); files written by AtomicFile are never truncated.
class MappedFile {
 public:
  MappedFile() noexcept = default;
  /// Usage error if there is no such regular file or it may not be read.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(data_), size_}; }
  uint64_t size() const noexcept { return size_; }
  const std::string& path() const noexcept { return path_; }
  /// Asks the kernel to read ahead the whole file.
  void prefetch() const noexcept;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace corten
