// Plans of training steps: what is predicted is what happens, and models need not fit this machine.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/format.h"
#include "corten/memory.h"
#include "diagnose/training_plan.h"
#include "train/model_setup.h"

namespace corten {
namespace {

std::string small_model(int64_t layers = 2, int64_t width = 32) {
  return format(R"({{"model_type":"gpt2","vocab_size":101,"n_positions":64,"n_embd":{},"n_layer":{},"n_head":2,)"
                R"("resid_pdrop":0.0,"embd_pdrop":0.0,"attn_pdrop":0.0}})",
                width, layers);
}
StepSettings settings(int64_t batch = 4, int64_t shards = 1, DType dtype = DType::f32) {
  return {.batch = batch, .seq = 32, .virtual_shards = shards, .dtype = dtype};
}
Machine machine(double memory) { return {.name = "test", .peak_flops = 1e12, .bandwidth = 1e11, .memory_bytes = memory, .how = "given"}; }

TEST(Plan, OwnersAddUpToThePeakOfTheRun) {
  for (int64_t shards : {1, 4})
    for (DType dtype : {DType::f32, DType::bf16}) {
      SCOPED_TRACE(format("{} shards, {}", shards, name(dtype)));
      const int64_t before = memory_allocated();
      const StepPlan plan = plan_step(small_model(), settings(4, shards, dtype));
      EXPECT_LT(memory_allocated() - before, 1 << 16) << "the weights were allocated";
      EXPECT_EQ(plan.owners.total(), plan.peak_bytes);

      // The same step on real tensors.
      const auto model = build_model(small_model(), "", 1);
      TrainStep step(*model, settings(4, shards, dtype));
      for (int64_t& id : step.ids()) id = 1;
      for (int64_t& id : step.targets()) id = 2;
      step.run(1e-3);
      EXPECT_EQ(static_cast<int64_t>(step.planned_bytes()), plan.peak_bytes);
      EXPECT_EQ(step.compiled().info().arena_bytes, plan.info.arena_bytes);
      EXPECT_EQ(plan.parameters, model->num_parameters());
      EXPECT_EQ(plan.owners[Owner::parameter], 4 * plan.parameters);
      // Two moments and a few numbers.
      EXPECT_GE(plan.owners[Owner::optimizer], 8 * plan.parameters);
      EXPECT_LT(plan.owners[Owner::optimizer], 8 * plan.parameters + 64);
      // All gradients are alive when their norm is taken.
      EXPECT_GE(plan.most[Owner::gradient], 4 * plan.parameters);
      EXPECT_GT(plan.most[Owner::activation], 0);
    }
}

// Of classifiers and encoder-decoders, whose targets are of another number than their tokens.
TEST(Plan, OtherTasksMeetTheirRunsToo) {
  struct Case {
    Task task;
    const char* config;
    int64_t targets;
  };
  for (const Case& one :
       {Case{Task::sequence_classification,
             R"({"model_type":"bert","vocab_size":101,"hidden_size":32,"num_hidden_layers":2,"num_attention_heads":2,"intermediate_size":48,
                 "max_position_embeddings":64,"num_labels":3})",
             1},
        Case{Task::seq2seq_lm,
             R"({"model_type":"t5","vocab_size":101,"d_model":32,"d_kv":8,"d_ff":48,"num_layers":2,"num_heads":4,"decoder_start_token_id":0})", 11}})
    for (int64_t shards : {1, 4}) {
      SCOPED_TRACE(format("{}, {} shards", one.config, shards));
      StepSettings of = settings(4, shards);
      of.target_seq = one.targets;
      const int64_t before = memory_allocated();
      const StepPlan plan = plan_step(one.config, of, one.task);
      EXPECT_LT(memory_allocated() - before, 1 << 16) << "the weights were allocated";
      EXPECT_EQ(plan.owners.total(), plan.peak_bytes);

      std::vector<std::string> drawn;
      const TrainedModel model(one.task, one.config, "", 1, drawn);
      TrainStep step(model.objective(), of);
      EXPECT_EQ(std::ssize(step.targets()), 4 * one.targets);
      for (int64_t& id : step.ids()) id = 1;
      for (int64_t& id : step.targets()) id = 2;
      step.run(1e-3);
      EXPECT_EQ(static_cast<int64_t>(step.planned_bytes()), plan.peak_bytes);
      EXPECT_EQ(plan.owners[Owner::parameter], 4 * model.module().num_parameters());
      // What is unpadded and not recomputed is most of what is executed.
      EXPECT_GT(plan.model_flops, 0.5 * plan.info.flops);
      EXPECT_LT(plan.model_flops, 1.1 * plan.info.flops);
    }
}

// The program for a CUDA device is planned without one.
TEST(Plan, OfACudaDevice) {
  StepSettings of = settings(8, 1, DType::bf16);
  of.cuda = true;
  const StepPlan plan = plan_step(small_model(), of), host = plan_step(small_model(), settings(8, 1, DType::bf16));
  EXPECT_EQ(plan.owners.total(), plan.peak_bytes);
  EXPECT_EQ(plan.peak_bytes, plan.info.state_bytes + plan.info.argument_bytes + plan.info.output_bytes + plan.info.arena_bytes + plan.workspace_bytes);
  EXPECT_EQ(plan.owners[Owner::parameter], host.owners[Owner::parameter]);
  EXPECT_EQ(plan.owners[Owner::optimizer], host.owners[Owner::optimizer]);
  EXPECT_EQ(plan.most[Owner::gradient], host.most[Owner::gradient]);
  EXPECT_GT(plan.most[Owner::activation], 0);
  EXPECT_GT(plan.info.flops, 0.0);
  int64_t moved = 0;
  for (const runtime::StepReport& step : plan.report.steps) moved += step.bytes;
  EXPECT_EQ(moved, plan.info.bytes_moved);

  of.memory_budget = plan.peak_bytes - plan.info.arena_bytes / 4;
  const StepPlan less = plan_step(small_model(), of);
  EXPECT_LE(less.peak_bytes, of.memory_budget);
  EXPECT_GT(less.info.recomputed, 0);

  const MemorySnapshot timeline = memory_timeline(plan, plan.predicted_step_seconds(machine(1e12)));
  ASSERT_EQ(timeline.segments.size(), 1u);
  EXPECT_GE(timeline.segments[0].total_size, plan.peak_bytes);
}

TEST(Plan, ActivationsGrowWithTheBatchAndStatesDoNot) {
  const StepPlan one = plan_step(small_model(), settings(2)), two = plan_step(small_model(), settings(4));
  EXPECT_EQ(one.owners[Owner::parameter], two.owners[Owner::parameter]);
  EXPECT_EQ(one.owners[Owner::optimizer], two.owners[Owner::optimizer]);
  EXPECT_NEAR(static_cast<double>(two.most[Owner::activation]), 2.0 * static_cast<double>(one.most[Owner::activation]),
              0.1 * static_cast<double>(two.most[Owner::activation]));
  EXPECT_DOUBLE_EQ(two.model_flops, 2 * one.model_flops);
}

TEST(Plan, ReportCoversTheProgram) {
  const StepPlan plan = plan_step(small_model(), settings());
  int64_t bytes = 0;
  double flops = 0;
  for (const auto& step : plan.report.steps) bytes += step.bytes, flops += step.flops;
  EXPECT_EQ(bytes, plan.info.bytes_moved);
  EXPECT_DOUBLE_EQ(flops, plan.info.flops);
  // Buffers that live at the same time lie apart.
  const auto& buffers = plan.report.buffers;
  for (size_t i = 0; i < buffers.size(); ++i)
    for (size_t j = i + 1; j < buffers.size(); ++j) {
      const bool together = buffers[i].first <= buffers[j].last && buffers[j].first <= buffers[i].last;
      const bool apart = buffers[i].offset + buffers[i].bytes <= buffers[j].offset || buffers[j].offset + buffers[j].bytes <= buffers[i].offset;
      ASSERT_TRUE(!together || apart) << i << " and " << j;
    }
  EXPECT_EQ(plan.peak_with({1, 1, 1, 1, 1, 1, 1, 1, 1}), plan.peak_bytes - plan.owners.fragmentation);
}

TEST(Plan, Float8IsForDevicesThatHaveIt) {
  StepSettings of = settings();
  of.cuda = of.float8 = true;
  const auto products = [](const StepPlan& plan) {
    return std::count_if(plan.report.steps.begin(), plan.report.steps.end(),
                         [](const runtime::StepReport& step) { return step.name == "scaled_matmul"; });
  };
  const StepPlan with = plan_step(small_model(), of);
  of.float8_cores = false;
  const StepPlan without = plan_step(small_model(), of);
  EXPECT_GT(products(with), 0);
  EXPECT_EQ(products(without), 0);
  EXPECT_EQ(with.info.flops, without.info.flops);
  const Machine h100 = machine_by_name("H100", DType::bf16), a100 = machine_by_name("A100", DType::bf16);
  EXPECT_EQ(h100.float8_flops, 1979e12);
  EXPECT_EQ(a100.float8_flops, 0);
  Machine m = h100;
  m.bandwidth = 1e30;  // only work counts
  EXPECT_LT(with.predicted_seconds(m), without.predicted_seconds(m));
}

TEST(Plan, TimeIsTheLongerOfWorkAndTraffic) {
  const StepPlan plan = plan_step(small_model(), settings());
  Machine m = machine(1e9);
  m.peak_flops = 1e30;  // only traffic counts
  const double traffic = static_cast<double>(plan.info.bytes_moved) / m.bandwidth;
  EXPECT_NEAR(plan.predicted_seconds(m), traffic, 1e-9 * traffic);
  m.peak_flops = 1;  // products count by their FLOPs, kernels by their bytes
  EXPECT_GE(plan.predicted_seconds(m), plan.info.flops);
}

TEST(Plan, LargeModelsNeedNoMemory) {
  const std::string model = R"({"model_type":"gpt2","vocab_size":50257,"n_positions":1024,"n_embd":5120,"n_layer":40,"n_head":40,
                               "resid_pdrop":0.0,"embd_pdrop":0.0,"attn_pdrop":0.0})";
  reset_peak_memory_stats();
  const int64_t before = max_memory_allocated();
  const StepPlan plan = plan_step(model, {.batch = 1, .seq = 128});
  EXPECT_NEAR(static_cast<double>(plan.parameters), 12.85e9, 0.01e9);
  EXPECT_EQ(plan.owners[Owner::parameter], 4 * plan.parameters);
  EXPECT_GE(plan.peak_bytes, 16 * plan.parameters);
  EXPECT_LT(max_memory_allocated(), before + (1 << 22));
}

TEST(Plan, Recipes) {
  auto bytes = [](int64_t parameters, int64_t ranks) {
    std::map<double, double> out;
    for (const RecipeBytes& r : recipe_bytes(parameters, ranks)) {
      EXPECT_DOUBLE_EQ(r.bytes, r.recipe.total() * static_cast<double>(parameters));
      out[r.recipe.total()] = r.bytes_per_rank / 1e9;
    }
    return out;
  };
  const auto small = bytes(13'000'000'000, 1);
  EXPECT_DOUBLE_EQ(small.at(12), 156);
  EXPECT_DOUBLE_EQ(small.at(16), 208);
  EXPECT_DOUBLE_EQ(small.at(6), 78);
  EXPECT_DOUBLE_EQ(small.at(10), 130);
  const auto large = bytes(70'000'000'000, 8);
  EXPECT_DOUBLE_EQ(large.at(8), 70);
  EXPECT_DOUBLE_EQ(large.at(16), 140);
  EXPECT_GT(large.at(16) * 1e9, machine_by_name("h100", DType::bf16).memory_bytes);
  EXPECT_LT(large.at(8) * 1e9, machine_by_name("H100", DType::bf16).memory_bytes);
  EXPECT_THROW(machine_by_name("H101", DType::bf16), Error);
}

class Fit : public ::testing::Test {
 protected:
  std::map<std::string, WayToFit> ways(double limit) {
    std::map<std::string, WayToFit> out;
    list = ways_to_fit(plan, {.model_config = small_model(), .settings = settings(8), .limit_bytes = limit, .machine = machine(limit)});
    for (const WayToFit& way : list) out[way.name] = way;
    return out;
  }
  const StepPlan plan = plan_step(small_model(), settings(8));
  std::vector<WayToFit> list;
};

TEST_F(Fit, FiguresOfAvailableWaysAreThoseOfTheirPlans) {
  const double limit = 0.7 * static_cast<double>(plan.peak_bytes);
  const auto found = ways(limit);
  const WayToFit& batch = found.at("smaller batch");
  EXPECT_TRUE(batch.available && batch.fits);
  const int64_t chosen = std::stoll(batch.set.substr(batch.set.find('=') + 1));
  EXPECT_EQ(plan_step(small_model(), settings(chosen)).peak_bytes, batch.peak_bytes);
  EXPECT_GT(static_cast<double>(plan_step(small_model(), settings(chosen + 1)).peak_bytes), limit) << "a larger batch would fit too";
  const WayToFit& shards = found.at("more virtual shards");
  EXPECT_TRUE(shards.available && shards.fits);
  EXPECT_EQ(plan_step(small_model(), settings(8, std::stoll(shards.set.substr(shards.set.find('=') + 1)))).peak_bytes, shards.peak_bytes);
  EXPECT_EQ(plan_step(small_model(), settings(8, 1, DType::bf16)).peak_bytes, found.at("bf16 compute").peak_bytes);
  // Best first.
  for (size_t i = 1; i < list.size(); ++i) {
    EXPECT_GE(list[i - 1].available, list[i].available);
    if (list[i - 1].available == list[i].available) {
      EXPECT_GE(list[i - 1].fits, list[i].fits);
    }
  }
}

TEST_F(Fit, RematerialisationLeavesStates) {
  const auto found = ways(1);
  const WayToFit& remat = found.at("rematerialisation");
  EXPECT_FALSE(remat.fits);
  EXPECT_GE(remat.peak_bytes, 4 * plan.parameters /* weights */ + 8 * plan.parameters /* moments */ + 4 * plan.parameters /* gradients */);
  EXPECT_LT(remat.peak_bytes, plan.peak_bytes);
  EXPECT_LT(found.at("ZeRO-3, FSDP (and parameters) over 8 ranks").peak_bytes, found.at("ZeRO-1 (optimizer) over 8 ranks").peak_bytes);
  EXPECT_LT(found.at("offload of the optimizer").peak_bytes, found.at("8-bit optimizer").peak_bytes);
  for (const auto& [name, way] : found) EXPECT_FALSE(way.fits) << name << " fits one byte";
}

TEST(Timeline, LiveBytesPeakAtThePlan) {
  const StepPlan plan = plan_step(small_model(), settings(4, 2));
  const MemorySnapshot snapshot = memory_timeline(plan, plan.predicted_step_seconds(machine(1e9)));
  ASSERT_EQ(snapshot.segments.size(), 1u);
  const MemorySegment& segment = snapshot.segments[0];
  int64_t at = segment.address;
  for (const MemoryBlock& b : segment.blocks) {
    EXPECT_EQ(b.address, at);
    at += b.size;
  }
  EXPECT_EQ(at, segment.address + segment.total_size);
  int64_t live = 0, most = 0, time = 0;
  std::set<std::string> categories;
  std::map<int64_t, int64_t> blocks;  // address -> end
  bool sources = false;
  for (const MemoryEvent& e : snapshot.trace) {
    EXPECT_GE(e.time_us, time);
    time = e.time_us;
    if (!e.category.empty()) categories.insert(e.category);
    for (const MemoryFrame& f : e.frames) sources |= f.filename.ends_with("gpt2.cpp") && f.line > 0;
    if (e.action == MemoryEvent::Action::alloc) {
      auto next = blocks.lower_bound(e.address);
      EXPECT_TRUE(next == blocks.end() || next->first >= e.address + e.size);
      EXPECT_TRUE(next == blocks.begin() || std::prev(next)->second <= e.address);
      blocks[e.address] = e.address + e.size;
      EXPECT_LE(e.address + e.size, segment.address + segment.total_size);
      most = std::max(most, live += e.size);
    } else if (e.action == MemoryEvent::Action::free_completed) {
      ASSERT_EQ(blocks.erase(e.address), 1u);
      live -= e.size;
    }
  }
  const int64_t rounding = 64 * (static_cast<int64_t>(plan.state.size()) + 2);
  EXPECT_GE(most, plan.peak_bytes - plan.owners.fragmentation);
  EXPECT_LE(most, plan.peak_bytes + rounding);
  for (const char* c : {"unknown", "parameter", "gradient", "optimizer_state", "activation", "temporary"}) EXPECT_TRUE(categories.count(c)) << c;
  EXPECT_TRUE(sources);
}

}  // namespace
}  // namespace corten
