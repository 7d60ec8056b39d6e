#include "base/file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "base/absent.h"
#include "base/format.h"
#include "base/json_file.h"
#include "temp_folder.h"

namespace corten {
namespace {

using ::corten::testing::in_child;
using ::corten::testing::kill_at_system_call;
using ::corten::testing::kill_while_running;
using ::corten::testing::KillOutcome;
using ::corten::testing::TempFolder;

template <typename Function>
std::string message_of(ErrorKind kind, Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind) << error.what();
    return error.what();
  }
  return "";
}

TEST(File, ReadsAndWrites) {
  const TempFolder folder;
  const std::string path = folder / "a.txt";
  const std::string bytes("with\0nul", 8);
  write_file_atomic(path, bytes);
  EXPECT_EQ(read_file(path), bytes);
  EXPECT_EQ(file_size(path), 8u);
  write_file_atomic(path, "");
  EXPECT_EQ(read_file(path), "");
  EXPECT_EQ(list_folder(folder.path()), std::vector<std::string>{"a.txt"});
  EXPECT_GT(read_file("/proc/self/status").size(), 100u);  // reports size 0
  EXPECT_THROW(read_pieces(folder / "none", [](std::span<const std::byte>) {}), Error);
  const std::string long_path = folder / "long";
  std::string long_bytes((size_t{5} << 19) + 3, 'x'), pieces;
  long_bytes[1 << 20] = 'y';
  write_file_atomic(long_path, long_bytes);
  read_pieces(long_path, [&](std::span<const std::byte> piece) {
    pieces.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  EXPECT_EQ(pieces, long_bytes);
  EXPECT_EQ(list_folder(folder.path()).size(), 2u);
}

TEST(File, ErrorsOfReading) {
  const TempFolder folder;
  EXPECT_NE(
      message_of(ErrorKind::Usage, [&] { read_file(folder / "none"); }).find("/none: No such"),
      std::string::npos);
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { read_file(folder.path()); }).find("a folder"),
            std::string::npos);
  write_file_atomic(folder / "a", "12345");
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { read_file(folder / "a", 4); }), "");
  EXPECT_EQ(read_file(folder / "a", 5), "12345");
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { read_file("/proc/self/status", 4); }), "");
  const std::string pipe = folder / "pipe";
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { read_file(pipe); }), "");  // and does not hang
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { write_file_atomic(folder / "no/file", "x"); }), "");
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { write_file_atomic(folder.path(), "x"); }), "");
}

TEST(File, AtomicFileDiscardsUnlessCommitted) {
  const TempFolder folder;
  const std::string path = folder / "a";
  write_file_atomic(path, "old");
  {
    AtomicFile file(path);
    file.write("new content");
    EXPECT_EQ(read_file(path), "old");
  }
  EXPECT_EQ(read_file(path), "old");
  {
    AtomicFile file(path);
    file.write("____ world");
    file.write_at(0, std::as_bytes(std::span("abcd", 4)));
    file.commit();
  }
  EXPECT_EQ(read_file(path), "abcd world");
  EXPECT_EQ(list_folder(folder.path()).size(), 1u);
}

TEST(File, KeepsTheModeOfWhatItReplaces) {
  const TempFolder folder;
  const std::string path = folder / "a";
  write_file_atomic(path, "1");
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  write_file_atomic(path, "2");
  struct stat info{};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0640u);
}

TEST(File, Mapping) {
  const TempFolder folder;
  write_file_atomic(folder / "a", "mapped");
  MappedFile file(folder / "a");
  EXPECT_EQ(file.text(), "mapped");
  write_file_atomic(folder / "a", "changed");  // the mapping keeps the old file
  EXPECT_EQ(file.text(), "mapped");
  MappedFile moved = std::move(file);
  EXPECT_EQ(moved.text(), "mapped");
  write_file_atomic(folder / "empty", "");
  EXPECT_EQ(MappedFile(folder / "empty").size(), 0u);
  EXPECT_THROW(MappedFile(folder / "none"), Error);
  EXPECT_THROW(MappedFile(folder.path()), Error);
}

TEST(File, Paths) {
  EXPECT_EQ(parent_path("a/b/c.txt"), "a/b");
  EXPECT_EQ(parent_path("c.txt"), ".");
  EXPECT_EQ(parent_path("/c"), "/");
  EXPECT_EQ(parent_path("a/b/"), "a");
  EXPECT_EQ(base_name("a/b/"), "b");
  EXPECT_EQ(base_name("c"), "c");
  EXPECT_EQ(join_path("a", "b"), "a/b");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
  EXPECT_EQ(join_path("a", "/b"), "/b");
}

TEST(File, Folders) {
  const TempFolder folder;
  create_folders(folder / "x/y/z");
  create_folders(folder / "x/y/z/");
  EXPECT_TRUE(folder_exists(folder / "x/y/z"));
  write_file_atomic(folder / "x/file", "1");
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { create_folders(folder / "x/file/sub"); }), "");
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { create_folders(folder / "x/file"); }), "");
  remove_folder(folder / "x");
  remove_folder(folder / "x");
  EXPECT_FALSE(path_exists(folder / "x"));
}

// Disk full
// ----------------------------------------------------------------------------------------

// Writes 64 KiB over an old file and checks that the error tells path and bytes, that the old
// content is there, and nothing else.
int disk_full_outcome(const std::string& folder) {
  const std::string path = folder + "/target", content(64 * 1024, 'x');
  try {
    write_file_atomic(path, content);
    return 1;
  } catch (const Error& error) {
    const std::string text = error.what();
    if (error.kind() != ErrorKind::Resource) return 2;
    if (text.find(path) == std::string::npos || text.find("disk full") == std::string::npos)
      return 3;
    if (text.find("bytes") == std::string::npos) return 4;
  }
  if (read_file(path) != "old") return 5;
  if (list_folder(folder).size() != 1) return 6;
  return 0;
}

TEST(File, FullDiskByLimit) {
  const TempFolder folder;
  write_file_atomic(folder / "target", "old");
  EXPECT_EQ(in_child([&] {
              ::signal(SIGXFSZ, SIG_IGN);
              const rlimit limit{16 * 1024, 16 * 1024};
              if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 98;
              return disk_full_outcome(folder.path());
            }),
            0);
}

TEST(File, FullDiskOfASmallFileSystem) {
  const TempFolder folder;
  const int outcome = in_child([&] {
    // Mounts of an own namespace end with the child.
    if (::unshare(CLONE_NEWNS) != 0) return 97;
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 97;
    if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=32k") != 0) return 97;
    write_file_atomic(folder / "target", "old");
    return disk_full_outcome(folder.path());
  });
  if (outcome == 97) GTEST_SKIP() << "mounting needs root";
  EXPECT_EQ(outcome, 0);
}

// kill -9
// ------------------------------------------------------------------------------------------

std::string content_of_round(int round) {
  return std::string(static_cast<size_t>(200000), static_cast<char>('a' + round % 26));
}
bool is_whole(const std::string& text) {
  return text.size() == 200000 && text.find_first_not_of(text[0]) == std::string::npos;
}

TEST(File, KillLeavesAWholeFile) {
  const TempFolder folder;
  const std::string path = folder / "a";
  write_file_atomic(path, content_of_round(0));
  std::mt19937 random(11);
  for (int i = 0; i < 30; ++i) {
    kill_while_running(static_cast<int>(500 + random() % 8000),
                       [&](int round) { write_file_atomic(path, content_of_round(round)); });
    ASSERT_TRUE(is_whole(read_file(path))) << i;
  }
}

void write_folder(const std::string& path, int round) {
  remove_folder(path);
  create_folders(path + "/sub");
  for (const char* name : {"/a", "/b", "/sub/c"}) {
    // Plain writes: it is the exchange of folders that must protect the content.
    const int fd = ::open((path + name).c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    const std::string text = content_of_round(round).substr(0, 20000);
    if (::write(fd, text.data(), text.size()) != 20000) ::_exit(98);
    ::close(fd);
  }
}
void expect_whole_folder(const std::string& path) {
  const std::string a = read_file(path + "/a");
  ASSERT_EQ(a.size(), 20000u);
  ASSERT_EQ(a.find_first_not_of(a[0]), std::string::npos);
  ASSERT_EQ(read_file(path + "/b"), a);
  ASSERT_EQ(read_file(path + "/sub/c"), a);
}

void kill_folder_writer_everywhere(bool exchange) {
  const TempFolder folder;
  const std::string path = folder / "checkpoint", tmp = folder / "checkpoint.tmp";
  bool recovered_once = false;
  for (int call = 1;; ++call) {
    remove_folder(path);
    write_folder(path, 0);
    write_folder(tmp, 1);
    const KillOutcome outcome =
        kill_at_system_call(call, [&] { replace_folder_atomic(tmp, path, exchange); });
    if (outcome == KillOutcome::unavailable) GTEST_SKIP() << "ptrace is not allowed";
    const bool recovered = recover_folder(path);
    ASSERT_FALSE(exchange && recovered);
    recovered_once |= recovered;
    expect_whole_folder(path);
    if (::testing::Test::HasFatalFailure()) return;
    if (outcome == KillOutcome::finished) {
      ASSERT_GT(call, 20);
      break;
    }
  }
  EXPECT_EQ(recovered_once, !exchange);
}

TEST(File, KillLeavesAWholeFolder) {
  kill_folder_writer_everywhere(true);
}
TEST(File, KillLeavesAWholeFolderWithoutExchange) {
  kill_folder_writer_everywhere(false);
}

TEST(File, KillAtAnySystemCallLeavesAWholeFile) {
  const TempFolder folder;
  const std::string path = folder / "a";
  for (int call = 1;; ++call) {
    write_file_atomic(path, content_of_round(0));
    const KillOutcome outcome =
        kill_at_system_call(call, [&] { write_file_atomic(path, content_of_round(1)); });
    if (outcome == KillOutcome::unavailable) GTEST_SKIP() << "ptrace is not allowed";
    const std::string content = read_file(path);
    ASSERT_TRUE(is_whole(content));
    if (outcome == KillOutcome::finished) {
      ASSERT_EQ(content[0], 'b');
      break;
    }
  }
}

TEST(File, ReplaceFolder) {
  for (const bool exchange : {true, false}) {
    const TempFolder folder;
    const std::string path = folder / "final", tmp = folder / "tmp";
    create_folders(tmp);
    write_file_atomic(tmp + "/x", "1");
    replace_folder_atomic(tmp, path, exchange);
    EXPECT_EQ(read_file(path + "/x"), "1");
    create_folders(tmp);
    write_file_atomic(tmp + "/y", "2");
    replace_folder_atomic(tmp + "/", path + "/", exchange);
    EXPECT_EQ(list_folder(path), std::vector<std::string>{"y"});
    EXPECT_EQ(list_folder(folder.path()), std::vector<std::string>{"final"});
    EXPECT_NE(message_of(ErrorKind::Usage, [&] { replace_folder_atomic(tmp, path); }), "");
    write_file_atomic(folder / "file", "");
    create_folders(tmp);
    EXPECT_NE(message_of(ErrorKind::Usage, [&] { replace_folder_atomic(tmp, folder / "file"); }),
              "");
  }
}

TEST(File, RecoverFolder) {
  const TempFolder folder;
  create_folders(folder / "c.old");
  write_file_atomic(folder / "c.old/x", "1");
  EXPECT_TRUE(recover_folder(folder / "c"));
  EXPECT_EQ(read_file(folder / "c/x"), "1");
  EXPECT_FALSE(recover_folder(folder / "c"));
}

TEST(File, BrokenLinks) {
  namespace fs = std::filesystem;
  const TempFolder folder;
  const std::string file = folder / "file", loop = folder / "loop", lost = folder / "lost";
  EXPECT_FALSE(has_file(file));
  EXPECT_EQ(describe_absent(file), "there is no " + file);
  write_file_atomic(file, "x");
  EXPECT_TRUE(has_file(file));
  fs::create_symlink("loop", loop);
  fs::create_symlink("nowhere", lost);
  fs::create_symlink("file", folder / "good");
  EXPECT_TRUE(has_file(folder / "good"));
  EXPECT_EQ(describe_absent(loop), loop + " is a link to loop, which leads back to itself");
  EXPECT_EQ(describe_absent(lost), lost + " is a link to nowhere, which is not there");
  for (const std::string& path : {loop, lost})
    EXPECT_EQ(message_of(ErrorKind::Usage, [&] { has_file(path); }),
              "cannot read " + path + ": " + describe_absent(path));
  // Behind a link that is a folder.
  EXPECT_EQ(describe_absent(loop + "/config.json"), describe_absent(loop));
  EXPECT_EQ(describe_absent(lost + "/config.json"), describe_absent(lost));
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { has_file(loop + "/config.json"); }).find("itself"),
            std::string::npos);
  create_folders(folder / "inner");
  EXPECT_NE(message_of(ErrorKind::Usage, [&] { has_file(folder / "inner"); }).find("a folder"),
            std::string::npos);
}

TEST(File, ConfigsWithoutDuplicateKeys) {
  const TempFolder folder;
  const std::string path = folder / "config.json";
  EXPECT_EQ(read_optional_json(path), std::nullopt);
  write_file_atomic(path, R"({"a": 1, "b": {"a": 2}})");
  EXPECT_EQ(read_optional_json(path).value().at("a"), Json(1));
  write_file_atomic(path, R"({"b": {"a": 2, "a": 2}})");
  EXPECT_EQ(message_of(ErrorKind::Usage, [&] { read_json_file(path); }),
            path + ": duplicate key \"a\"");
}

}  // namespace
}  // namespace corten
