// Tables, traces and growth reports of profiles.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "diagnose/chrome_trace.h"
#include "diagnose/key_averages.h"
#include "diagnose/profile.h"

namespace corten {
namespace {

using runtime::RecordedRange;

TEST(KeyAverages, TableIsPyTorchs) {
  // The rows of make_goldens.py.
  const std::vector<KeyAverage> rows = {
      {"gemm", 300, 2'500'000.5, 2'500'000.5, 0, 0, 13'129'000'000.0},
      {"kernel mul, add, sqrt, div, add, div, mul, sub, and some more of them", 12, 45'000.25, 45'000.25, 0, 0, 0},
      {"train_step", 4, 1'639, 2'547'000, 8, 3'221'225'472, 0},
      {"attention", 2, 999.5, 999.5, -5'242'880, -5'242'880, 2'500'000},
      {"data_loading", 4, 16.125, 16.125, 2047, 2048, 0}};
  EXPECT_EQ(key_averages_table(rows), read_file(std::string(CORTEN_TEST_DATA) + "/key_averages.txt"));
  EXPECT_EQ(key_averages_table({}), "");
  const std::string one = key_averages_table(rows, 1);
  EXPECT_NE(one.find("gemm"), std::string::npos);
  EXPECT_EQ(one.find("train_step"), std::string::npos);
}

std::vector<RecordedRange> ranges() {
  std::vector<RecordedRange> out(4);
  out[0] = {.name = "step", .category = "user_annotation", .start_ns = 5'000, .end_ns = 105'000, .memory = 64};
  out[1] = {.name = "gemm", .category = "cpu_op", .start_ns = 10'000, .end_ns = 30'500, .parent = 0, .flops = 1000, .bytes = 12, .memory = 128,
            .detail = "a \"b\"\\c\n"};
  out[2] = {.name = "gemm", .category = "cpu_op", .start_ns = 40'000, .end_ns = 50'000, .parent = 0, .memory = -64};
  out[3] = {.name = "load", .category = "user_annotation", .start_ns = 110'000, .end_ns = 111'001};
  return out;
}

TEST(KeyAverages, SelfTimeLeavesOutTheParts) {
  const std::vector<KeyAverage> averages = key_averages(ranges());
  ASSERT_EQ(averages.size(), 3u);
  EXPECT_EQ(averages[0].name, "step");
  EXPECT_DOUBLE_EQ(averages[0].total_us, 100);
  EXPECT_DOUBLE_EQ(averages[0].self_us, 100 - 20.5 - 10);
  EXPECT_EQ(averages[0].self_memory, 0);
  EXPECT_EQ(averages[1].name, "gemm");
  EXPECT_EQ(averages[1].calls, 2);
  EXPECT_DOUBLE_EQ(averages[1].average_us(), 15.25);
  EXPECT_EQ(averages[1].total_memory, 64);
}

TEST(ChromeTrace, IsKinetos) {
  const Json trace = Json::parse(chrome_trace(ranges(), "trace.json"), "trace");
  EXPECT_EQ(trace.at("schemaVersion"), Json(1));
  EXPECT_EQ(trace.at("traceName"), Json("trace.json"));
  EXPECT_TRUE(trace.at("deviceProperties").is_array());
  const std::vector<Json>& events = trace.at("traceEvents").elements();
  int complete = 0, memory = 0;
  for (const Json& e : events) {
    const std::string& phase = e.at("ph").as_string();
    if (phase == "X") {
      ++complete;
      for (const char* key : {"cat", "name", "pid", "tid", "ts", "dur", "args"}) EXPECT_TRUE(e.contains(key)) << key;
    }
    memory += e.at("name") == Json("[memory]");
  }
  EXPECT_EQ(complete, 4);
  EXPECT_EQ(memory, 2);
  EXPECT_EQ(events.back().at("name"), Json("Record Window End"));
  const Json* gemm = nullptr;
  for (const Json& e : events)
    if (!gemm && e.at("name") == Json("gemm")) gemm = &e;
  ASSERT_NE(gemm, nullptr);
  EXPECT_DOUBLE_EQ(gemm->at("ts").as_double(), 5);
  EXPECT_DOUBLE_EQ(gemm->at("dur").as_double(), 20.5);
  EXPECT_EQ(gemm->at("args").at("detail"), Json("a b/c"));
  const Json empty = Json::parse(chrome_trace({}, "empty"), "trace");
  EXPECT_TRUE(empty.at("traceEvents").is_array());
}

TEST(Growth, FindsLeaks) {
  std::vector<StepMemory> memory;
  for (int64_t i = 0; i < 5; ++i)
    memory.push_back({i, {{"parameters", 100}, {"tensor softmax, a.cpp:1", 10 * i}, {"tensor once", i < 2 ? 0 : 7}, {"resident", 1000 + i},
                          {"arena", i % 2 == 0 ? 50 : 40}}});
  const std::vector<Growth> growth = growth_report(memory);
  ASSERT_EQ(growth.size(), 5u);
  EXPECT_EQ(growth[0].owner, "tensor softmax, a.cpp:1");
  EXPECT_TRUE(growth[0].leak);
  EXPECT_EQ(growth[0].last - growth[0].first, 40);
  EXPECT_EQ(growth[0].steps_that_grew, 4);
  for (size_t i = 1; i < growth.size(); ++i) EXPECT_FALSE(growth[i].leak) << growth[i].owner;
  EXPECT_TRUE(growth_report({memory[0]}).empty());
}

}  // namespace
}  // namespace corten
