// A scratch folder that disappears with the test, and forked children.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace corten::testing {

class TempFolder {
 public:
  TempFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "corten-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  TempFolder(const TempFolder&) = delete;
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

/// Runs `body` in a forked child and returns its exit code (what `body` returns), or -signal.
template <typename Body>
int in_child(Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 99;
    try {
      code = body();
    } catch (...) {
    }
    ::_exit(code);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// Forks a child that runs `body` over and over, kills it with SIGKILL after `microseconds`, and
/// waits for its end.
template <typename Body>
void kill_while_running(int microseconds, Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      for (int round = 0;; ++round) body(round);
    } catch (...) {
    }
    ::_exit(99);
  }
  ::usleep(static_cast<useconds_t>(microseconds));
  ::kill(child, SIGKILL);
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the child failed on its own: " << status;
}

enum class KillOutcome { killed, finished, unavailable };

/// Runs `body` in a child that is killed with SIGKILL between two system calls, one call later for
/// each increment of `count`. Counting from 1 until `finished` therefore visits every state
/// that a kill -9 can leave behind. `unavailable`: this machine does not allow ptrace.
template <typename Body>
KillOutcome kill_at_system_call(int count, Body&& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(97);
    ::raise(SIGSTOP);
    try {
      body();
    } catch (...) {
      ::_exit(99);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFSTOPPED(status)) return KillOutcome::unavailable;
  ::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
  for (int stop = 1;; ++stop) {  // entries and exits alternate
    if (stop == 2 * count) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      return KillOutcome::killed;
    }
    ::ptrace(PTRACE_SYSCALL, child, nullptr, nullptr);
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      return KillOutcome::finished;
    }
  }
}

}  // namespace corten::testing
