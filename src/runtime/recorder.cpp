#include "runtime/recorder.h"

#include <chrono>

#include "base/format.h"
#include "runtime/allocator.h"

namespace corten::runtime {
namespace {

thread_local Recorder* t_recorder = nullptr;

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Recorder::Recorder() {
  if (t_recorder) usage_error("this thread is being profiled already");
  ranges_.reserve(4096);
  t_recorder = this;
}
Recorder::~Recorder() { t_recorder = nullptr; }
Recorder* Recorder::active() { return t_recorder; }

int32_t Recorder::begin(std::string_view name, const char* category) {
  const auto index = static_cast<int32_t>(ranges_.size());
  RecordedRange range;
  range.name = name;
  range.category = category;
  range.parent = open_.empty() ? -1 : open_.back();
  range.memory = -memory_in_use();
  open_.push_back(index);
  range.start_ns = now_ns();
  ranges_.push_back(std::move(range));
  return index;
}
RecordedRange& Recorder::end() {
  if (open_.empty()) internal_error("a recorded range was closed that was never opened");
  RecordedRange& range = ranges_[static_cast<size_t>(open_.back())];
  range.end_ns = now_ns();
  range.memory += memory_in_use();
  open_.pop_back();
  return range;
}

void Recorder::add(RecordedRange range) {
  range.parent = open_.empty() ? -1 : open_.back();
  ranges_.push_back(std::move(range));
}

}  // namespace corten::runtime
