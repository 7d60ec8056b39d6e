// Why a compiled function was compiled: which part of its key changed.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "corten/compile.h"
#include "ir/value.h"

namespace corten::runtime {

/// Everything that a program is compiled for.
struct ProgramKey {
  int threads = 0;
  std::string precision;               // set_float32_matmul_precision()
  std::vector<std::string> arguments;  // type and strides of each
  std::string disabled;                // CORTEN_DISABLE
  std::string autocast;                // the Autocast scope around the call, "" for none
  bool grad = true;                    // whether operations are recorded for differentiation around the call
  std::string random;                  // the RandomScope and ShardScope around the call
  std::string text() const;
  bool operator==(const ProgramKey&) const = default;
};
ProgramKey program_key(const ir::Values& arguments);

/// The compilations of one function, the last kCompilations of them.
class CompileHistory {
 public:
  /// What `key` has that the one used last (null: none) has not; `states_changed`: what became of the state of a program
  /// with that key, "" for nothing.
  std::string reason(const ProgramKey& key, const ProgramKey* last, const std::string& states_changed) const;
  void add(CompileRecord record);
  /// A program was forgotten to make room for others.
  void forgotten(const ProgramKey& key);
  std::vector<CompileRecord> records() const { return {records_.begin(), records_.end()}; }

 private:
  static constexpr size_t kCompilations = 64, kForgotten = 256;
  std::deque<CompileRecord> records_;
  std::deque<std::string> forgotten_;
};

}  // namespace corten::runtime
