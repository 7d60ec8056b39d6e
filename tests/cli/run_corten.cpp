#include "run_corten.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "corten/error.h"
#include "temp_folder.h"

namespace corten::cli {

Json Outcome::json() const {
  EXPECT_EQ(out.find('\n'), out.size() - 1) << "more than one line: " << out;
  try {
    return Json::parse(out, "stdout");
  } catch (const Error& error) {
    ADD_FAILURE() << error.what() << " in: " << out << "\nstderr: " << err;
    return Json::object();
  }
}

namespace {

/// A running command whose output goes to files.
class Child {
 public:
  Child(const std::vector<std::string>& args, const std::string& input,
        const std::vector<std::string>& environment) {
    write_file_atomic(in_, input);
    pid_ = fork();
    if (pid_ != 0) return;
    const int flags = O_WRONLY | O_CREAT | O_TRUNC;
    dup2(open(in_.c_str(), O_RDONLY), STDIN_FILENO);
    dup2(open(out_.c_str(), flags, 0600), STDOUT_FILENO);
    dup2(open(err_.c_str(), flags, 0600), STDERR_FILENO);
    for (const std::string& variable : environment) {
      const size_t equals = variable.find('=');
      setenv(variable.substr(0, equals).c_str(), variable.substr(equals + 1).c_str(), 1);
    }
    std::vector<char*> argv = {const_cast<char*>("corten")};
    for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
    argv.push_back(nullptr);
    execv(CORTEN_BINARY, argv.data());
    _exit(127);
  }

  pid_t pid() const { return pid_; }
  std::string err() const { return file_exists(err_) ? read_file(err_) : ""; }

  Outcome wait() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_file(out_), read_file(err_)};
  }

 private:
  const corten::testing::TempFolder folder_;
  const std::string in_ = folder_ / "in", out_ = folder_ / "out", err_ = folder_ / "err";
  pid_t pid_ = -1;
};

}  // namespace

Outcome run_corten(const std::vector<std::string>& args, const std::string& input,
                   const std::vector<std::string>& environment) {
  return Child(args, input, environment).wait();
}

Outcome interrupt_corten(const std::vector<std::string>& args, const std::string& sign,
                         int signal) {
  Child child(args, "", {});
  for (int tries = 0; child.err().find(sign) == std::string::npos; ++tries) {
    if (tries == 6000) {
      ADD_FAILURE() << "no \"" << sign << "\" within a minute in: " << child.err();
      kill(child.pid(), SIGKILL);
      break;
    }
    usleep(10000);
  }
  kill(child.pid(), signal);
  return child.wait();
}

}  // namespace corten::cli
