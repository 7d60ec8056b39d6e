#include "runtime/compile_reason.h"

#include <algorithm>
#include <cstdlib>

#include "base/format.h"
#include "base/thread_pool.h"
#include "corten/ops.h"
#include "passes/precision.h"
#include "runtime/tensor_impl.h"

namespace corten::runtime {

std::string ProgramKey::text() const {
  return format("{}|{}|{}|{}|{}|{}|{}", threads, precision, fmt::join(arguments, "|"), disabled, autocast, grad, random);
}

ProgramKey program_key(const ir::Values& arguments) {
  ProgramKey key;
  key.threads = default_thread_pool().num_threads();
  key.precision = format("{}", passes::matmul_precision());
  for (const ir::Value& v : arguments) {
    std::string text = to_string(v.type());
    if (!ir::is_contiguous(v->layout, v.dims())) text += format(" with strides {}", ir::to_string(v->layout.strides));
    key.arguments.push_back(std::move(text));
  }
  if (const char* disabled = std::getenv("CORTEN_DISABLE")) key.disabled = disabled;
  if (is_autocast_enabled()) key.autocast = name(get_autocast_dtype());
  key.grad = ir::grad_enabled();
  if (const RandomState& random = random_state(); !random.path.empty() || random.shard)
    key.random = format("\"{}\", shard {}", random.path, random.shard);
  return key;
}

std::string CompileHistory::reason(const ProgramKey& key, const ProgramKey* last, const std::string& states_changed) const {
  if (!last) return "first call";
  std::vector<std::string> changes;
  if (key.threads != last->threads) changes.push_back(format("{} threads became {}", last->threads, key.threads));
  if (key.precision != last->precision) changes.push_back(format("float32 matmul precision {} became {}", last->precision, key.precision));
  if (key.arguments.size() != last->arguments.size())
    changes.push_back(format("{} arguments became {}", last->arguments.size(), key.arguments.size()));
  for (size_t i = 0; i < std::min(key.arguments.size(), last->arguments.size()); ++i)
    if (key.arguments[i] != last->arguments[i]) changes.push_back(format("argument {}: {} became {}", i, last->arguments[i], key.arguments[i]));
  if (key.disabled != last->disabled) changes.push_back(format("CORTEN_DISABLE \"{}\" became \"{}\"", last->disabled, key.disabled));
  const auto scope = [](const std::string& text) { return text.empty() ? std::string("none") : text; };
  if (key.autocast != last->autocast) changes.push_back(format("Autocast around the call: {} became {}", scope(last->autocast), scope(key.autocast)));
  if (key.grad != last->grad) changes.push_back(key.grad ? "gradients are recorded around the call" : "the call is inside a NoGradGuard");
  if (key.random != last->random) changes.push_back(format("RandomScope around the call: {} became {}", scope(last->random), scope(key.random)));
  if (!states_changed.empty()) changes.push_back(states_changed);
  std::string out = changes.empty() ? "nothing changed" : format("{}", fmt::join(changes, "; "));
  if (std::find(forgotten_.begin(), forgotten_.end(), key.text()) != forgotten_.end())
    out += " (there was such a program, but it was the one used longest ago and forgotten)";
  return out;
}

void CompileHistory::add(CompileRecord record) {
  records_.push_back(std::move(record));
  if (records_.size() > kCompilations) records_.pop_front();
}
void CompileHistory::forgotten(const ProgramKey& key) {
  forgotten_.push_back(key.text());
  if (forgotten_.size() > kForgotten) forgotten_.pop_front();
}

}  // namespace corten::runtime
