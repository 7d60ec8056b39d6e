// Where the time of a decoded token goes, step by step.
//   cmake --build build/release --target decode_bench
//   decode_bench PRESET|FOLDER bf16|int8|int4 [PROMPT_TOKENS [TOKENS [THREADS]]]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/thread_pool.h"
#include "corten/generate.h"
#include "corten/models.h"
#include "models/presets.h"
#include "runtime/recorder.h"

using namespace corten;

int main(int argc, char** argv) {
  const std::string preset = argc > 1 ? argv[1] : "gpt2", dtype = argc > 2 ? argv[2] : "bf16";
  const int64_t prompt = argc > 3 ? std::atoll(argv[3]) : 64,
                tokens = argc > 4 ? std::atoll(argv[4]) : 40;
  if (argc > 5) default_thread_pool().set_num_threads(std::atoi(argv[5]));
  std::unique_ptr<CausalLM> model;
  if (folder_exists(preset)) {
    model = load_model(
        preset, LoadOptions{.load_in_8bit = dtype == "int8", .load_in_4bit = dtype == "int4"});
  } else {
    model = make_model(preset_config(preset).dump());
    model->initialize(1);
    model->to(DType::bf16);
    if (dtype != "bf16") quantize_model(*model, dtype == "int8" ? load_in_8bit() : load_in_4bit());
  }
  DecodeSession session(*model, 1, prompt + tokens + 8);
  session.prefill(std::vector<int64_t>(static_cast<size_t>(prompt), 7));
  for (int i = 0; i < 4; ++i) session.decode({i});
  using Clock = std::chrono::steady_clock;
  std::vector<double> plain;
  for (int64_t i = 0; i < tokens / 2; ++i) {
    const auto start = Clock::now();
    session.decode({i});
    plain.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::sort(plain.begin(), plain.end());
  std::map<std::string, std::vector<double>> times;
  std::map<std::string, int64_t> counts;
  int64_t recorded = 0;
  for (; recorded < tokens / 2; ++recorded) {
    runtime::Recorder recorder;
    session.decode({recorded});
    std::map<std::string, double> sums;
    counts.clear();
    for (const runtime::RecordedRange& r : recorder.ranges()) {
      const std::string name = fmt::format("{} {}", r.name, r.detail);
      sums[name.substr(0, name.rfind(" at "))] += static_cast<double>(r.end_ns - r.start_ns) * 1e-3;
      ++counts[name.substr(0, name.rfind(" at "))];
    }
    for (auto& [name, us] : sums) times[name].push_back(us);
  }
  std::vector<std::pair<double, std::string>> order;
  for (auto& [name, us] : times) {
    std::sort(us.begin(), us.end());
    order.emplace_back(us[us.size() / 2], name);
  }
  std::sort(order.rbegin(), order.rend());
  fmt::print("token: {:.1f} us median\n", plain[plain.size() / 2]);
  for (auto& [us, name] : order)
    if (us > 1) fmt::print("{:9.1f} us  {:3} x {}\n", us, counts[name], name.substr(0, 120));
}
