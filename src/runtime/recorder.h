// Recording of what runs and how long it takes, for profiles. Off by default: then a range costs one load and a branch.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace corten::runtime {

/// Something that ran on the recorded thread.
struct RecordedRange {
  std::string name;
  const char* category = "";            // as in Chrome traces: "user_annotation", "cpu_op", "kernel"
  int64_t start_ns = 0, end_ns = 0;     // of the steady clock
  int32_t parent = -1;                  // the range that it is part of
  double flops = 0;
  int64_t bytes = 0;                    // read and written, where known
  int64_t memory = 0;                   // bytes allocated minus bytes freed
  std::string detail;                   // result and source line
};

/// Records the thread that made it, as long as it lives. There is one at a time.
class Recorder {
 public:
  Recorder();  // Usage error if there is one already
  ~Recorder();
  Recorder(const Recorder&) = delete;
  /// That of this thread; null if nothing is recorded.
  static Recorder* active();

  /// Opens a range and returns its number; ranges close in the opposite order.
  int32_t begin(std::string_view name, const char* category);
  RecordedRange& end();  // the range that was closed
  /// A range that was timed elsewhere, as a part of the one that is open.
  void add(RecordedRange range);

  const std::vector<RecordedRange>& ranges() const { return ranges_; }
 private:
  std::vector<RecordedRange> ranges_;
  std::vector<int32_t> open_;
};

/// A range for a scope.
class RangeScope {
 public:
  RangeScope(std::string_view name, const char* category) : recorder_(Recorder::active()) {
    if (recorder_) recorder_->begin(name, category);
  }
  ~RangeScope() {
    if (recorder_) recorder_->end();
  }
  RangeScope(const RangeScope&) = delete;

 private:
  Recorder* recorder_;
};

}  // namespace corten::runtime
