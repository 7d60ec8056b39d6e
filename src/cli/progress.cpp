#include "cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/format.h"
#include "base/strings.h"
#include "cli/output.h"

namespace corten::cli {
namespace {

constexpr auto kBarEvery = std::chrono::milliseconds(100);
constexpr auto kLineEvery = std::chrono::seconds(5);
constexpr int kBarWidth = 24, kMinBarWidth = 6;
constexpr const char* kClearLine = "\r\x1b[K";

int terminal_columns() {
  winsize size = {};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void write_stderr(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

std::string format_count(double value) {
  if (!(value >= 1000)) return format("{:.0f}", value);
  if (value < 1e6) return format("{:.1f}k", value / 1e3);
  return value < 1e9 ? format("{:.1f}M", value / 1e6) : format("{:.1f}G", value / 1e9);
}

std::string format_step(const StepInfo& info) {
  std::string text =
      format("step {}/{}  loss {:.4f}  lr {:.1e}  {} tok/s  norm {:.2f}", info.step, info.steps,
             info.loss, info.lr, format_count(info.tokens_per_s), info.grad_norm);
  if (info.mfu) text += format("  MFU {:.1f}%", 100 * *info.mfu);
  if (info.step < info.steps) text += format("  ETA {}", format_duration(info.eta_s));
  return text;
}

Progress::Progress() {
  const char* kind = std::getenv("TERM");
  terminal_ = isatty(STDERR_FILENO) == 1 && kind && std::string_view(kind) != "dumb";
}

Progress::~Progress() { finish(); }

bool Progress::due(bool always) {
  const Clock::time_point now = Clock::now();
  const auto wait = terminal_ ? Clock::duration(kBarEvery) : Clock::duration(kLineEvery);
  if (!always && shown_ && now - last_ < wait) return false;
  last_ = now;
  shown_ = true;
  return true;
}

void Progress::show(double fraction, const std::string& text) {
  if (!terminal_) {
    write_stderr(text + "\n");
    return;
  }
  // The bar takes what the text leaves of the line.
  const int columns = terminal_columns() - 1;
  const int width = std::min(kBarWidth, columns - static_cast<int>(text.size()) - 3);
  std::string line = text.substr(0, std::max(columns, 1));
  if (width >= kMinBarWidth) {
    const int filled = std::clamp(static_cast<int>(fraction * width), 0, width);
    line = format("[{}{}] {}", std::string(filled, '#'), std::string(width - filled, '.'), text);
  }
  write_stderr(kClearLine + line);
  bar_open_ = true;
}

void Progress::step(const StepInfo& info) {
  if (!due(info.step == info.steps)) return;
  show(info.steps > 0 ? double(info.step) / double(info.steps) : 0, format_step(info));
}

void Progress::evaluation(const EvalInfo& info) {
  message(format("step {}  validation loss {:.4f}{}", info.step, info.loss,
                 info.best ? "  (best so far)" : ""));
}

void Progress::task(std::string_view what, uint64_t done, uint64_t total, std::string_view amounts) {
  if (!due(done >= total)) return;
  show(total > 0 ? double(done) / double(total) : 0, format("{}  {}", what, amounts));
}

void Progress::message(std::string_view line) {
  if (bar_open_) write_stderr(kClearLine);
  bar_open_ = false;
  print_note(line);
}

void Progress::finish() {
  if (bar_open_) write_stderr("\n");
  bar_open_ = false;
}

TrainCallbacks Progress::callbacks() {
  TrainCallbacks callbacks;
  callbacks.on_step = [this](const StepInfo& info) { step(info); };
  callbacks.on_eval = [this](const EvalInfo& info) { evaluation(info); };
  callbacks.on_message = [this](const std::string& line) { message(line); };
  callbacks.should_stop = stop_requested;
  return callbacks;
}

}  // namespace corten::cli
