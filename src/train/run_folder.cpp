#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <optional>
#include <system_error>
#include <utility>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "corten/lora.h"

namespace corten {
namespace {

constexpr const char* kStaging = ".setup";
constexpr std::string_view kCheckpointPrefix = "step-";
/// Everything that commit() may move into place; the header comes last.
constexpr std::array kSetupNames = {"config.toml", "tokenizer", "data"};
/// Names of a run that exist only after its setup.
constexpr std::array kLaterNames = {"metrics.jsonl", "checkpoints", "model", "result.json"};

std::string without_trailing_slash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

std::optional<int64_t> checkpoint_step(std::string_view name) {
  if (!name.starts_with(kCheckpointPrefix)) return std::nullopt;
  name.remove_prefix(kCheckpointPrefix.size());
  int64_t step = 0;
  auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), step);
  if (error != std::errc() || stop != name.data() + name.size()) return std::nullopt;
  return step;
}

void rename_path(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0)
    resource_error("cannot rename {} to {}: {}", from, to, std::generic_category().message(errno));
}

}  // namespace

RunFolder::RunFolder(std::string root) : root_(without_trailing_slash(std::move(root))) {}

std::string RunFolder::file(const char* name) const {
  return join_path(root_, name);
}

std::string RunFolder::checkpoint(int64_t step) const {
  return join_path(checkpoints(), format("{}{:08}", kCheckpointPrefix, step));
}

bool RunFolder::holds_run() const {
  return file_exists(header());
}

std::vector<int64_t> RunFolder::checkpoint_steps() const {
  std::vector<int64_t> steps;
  if (!folder_exists(checkpoints())) return steps;
  for (const std::string& name : list_folder(checkpoints()))
    if (auto step = checkpoint_step(name)) steps.push_back(*step);
  std::sort(steps.begin(), steps.end());
  return steps;
}

void RunFolder::clean_up() const {
  remove_folder(file(kStaging));
  for (const std::string& folder : {checkpoints(), root_}) {
    if (!folder_exists(folder)) continue;
    for (const std::string& name : list_folder(folder))
      if (name.starts_with(".partial-") || name.starts_with(".removed-"))
        remove_folder(join_path(folder, name));
  }
}

void RunFolder::prune_checkpoints(int64_t keep_last, int64_t best_step) const {
  std::vector<int64_t> steps = checkpoint_steps();
  if (static_cast<int64_t>(steps.size()) <= keep_last) return;
  steps.resize(steps.size() - static_cast<size_t>(keep_last));
  for (int64_t step : steps) {
    if (step == best_step) continue;
    // Under another name first: a folder that is half removed must not look like a checkpoint.
    const std::string removed = join_path(checkpoints(), format(".removed-{}", step));
    remove_folder(removed);
    rename_path(checkpoint(step), removed);
    remove_folder(removed);
  }
}

std::string find_model_folder(const std::string& path) {
  auto holds_model = [](const std::string& folder) {
    return file_exists(join_path(folder, "config.json")) || holds_adapter(folder);
  };
  if (!folder_exists(path))
    usage_error("no folder {}{}", path, path_exists(path) ? ": " + describe_absent(path) : "");
  if (holds_model(path)) return path;
  const RunFolder run(path);
  if (const std::string config = join_path(path, "config.json"); is_link(config))
    usage_error("{} holds no model: {}", path, describe_absent(config));
  if (!run.holds_run())
    usage_error("{} holds no model: there is neither config.json nor run.json in it", path);
  if (holds_model(run.model())) return run.model();
  const std::vector<int64_t> steps = run.checkpoint_steps();
  if (steps.empty()) usage_error("the run in {} has no checkpoint yet", path);
  return run.checkpoint(steps.back());
}

RunSetup::RunSetup(const RunFolder& folder)
    : folder_(folder), staging_(join_path(folder.root(), kStaging)) {
  const std::string& root = folder.root();
  if (path_exists(root) && !folder_exists(root)) usage_error("{} exists and is no folder", root);
  if (folder.holds_run())
    usage_error("{} holds a run already: continue it with --resume, or choose another train.out",
                root);
  // A staging folder is left by a setup that was killed; what lies beside it may be that setup's.
  const bool interrupted = folder_exists(staging_.root());
  auto check_free = [&](const char* name) {
    const std::string path = join_path(root, name);
    if (path_exists(path))
      usage_error("{} is in the way of a new run: choose another train.out", path);
  };
  for (const char* name : kLaterNames) check_free(name);
  for (const char* name : kSetupNames) {
    if (!interrupted) check_free(name);
    remove_folder(join_path(root, name));
  }
  remove_folder(staging_.root());
  created_ = !folder_exists(root);
  create_folders(staging_.root());
}

RunSetup::~RunSetup() {
  if (committed_) return;
  try {
    remove_folder(staging_.root());
    if (created_ && list_folder(folder_.root()).empty()) remove_folder(folder_.root());
  } catch (const Error&) {  // what is left is removed by the next setup
  }
}

void RunSetup::commit(const Json& header) {
  for (const char* name : kSetupNames) {
    const std::string from = join_path(staging_.root(), name);
    if (path_exists(from)) rename_path(from, join_path(folder_.root(), name));
  }
  create_folders(folder_.checkpoints());
  sync_folder(folder_.root());
  write_file_atomic(folder_.header(), header.dump(2) + "\n");
  committed_ = true;
  remove_folder(staging_.root());
}

RunLock::RunLock(const RunFolder& folder) {
  fd_ = ::open(folder.root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0)
    usage_error("cannot open {}: {}", folder.root(), std::generic_category().message(errno));
  if (::flock(fd_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(fd_);
  usage_error("another process is training in {}", folder.root());
}

RunLock::~RunLock() {
  ::close(fd_);
}

MetricsLog::MetricsLog(const std::string& path, int64_t last_step) : path_(path) {
  if (file_exists(path)) {
    const std::string text = read_file(path);
    std::string kept;
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      if (end == std::string::npos) break;
      const std::string_view line = std::string_view(text).substr(at, end + 1 - at);
      at = end + 1;
      try {
        if (Json::parse(line, path).at("step").as_int("step") <= last_step) kept += line;
      } catch (const Error&) {  // a line torn by a crash of the machine
      }
    }
    if (kept.size() != text.size()) write_file_atomic(path, kept);
  }
  fd_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd_ < 0) resource_error("cannot write {}: {}", path, std::generic_category().message(errno));
}

MetricsLog::~MetricsLog() {
  ::close(fd_);
}

void MetricsLog::write(const Json& line) {
  const std::string text = line.dump() + "\n";
  for (size_t done = 0; done < text.size();) {
    const ssize_t count = ::write(fd_, text.data() + done, text.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0)
      resource_error("cannot write {} ({} bytes more): {}", path_, text.size() - done,
                     std::generic_category().message(errno));
    done += static_cast<size_t>(count);
  }
}

}  // namespace corten
