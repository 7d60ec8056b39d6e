// Generation on a device: weights and cache stay there, the tokens are the CPU's.
#include "corten/generate.h"

#include <gtest/gtest.h>

#include "corten/auto.h"
#include "corten/models.h"
#include "corten/seq2seq.h"
#include "gpu/cpu_device.h"
#include "gpu/samples.h"
#include "runtime/device_function.h"
#include "train/model_setup.h"

namespace corten::cuda::test {
namespace {

const std::vector<std::vector<int64_t>> kPrompts{{3, 14, 15, 9, 2, 6}, {5, 35, 8}};

std::unique_ptr<CausalLM> gpt2() {
  auto model = make_gpt2({.vocab_size = 61,
                          .n_positions = 32,
                          .n_embd = 16,
                          .n_layer = 2,
                          .n_head = 2,
                          .initializer_range = 0.4});
  model->initialize(7);
  return model;
}

TEST(DeviceGeneration, HasTheCpusTokens) {
  CpuDevice device;
  device.lazy = true;
  const auto model = gpt2();
  {
    runtime::DeviceState state(device, device.modules());
    GenerationOptions greedy{
        .max_new_tokens = 8, .sampling = {.temperature = 0}, .stop_at_eos = false};
    GenerationOptions there = greedy;
    there.device = &state;
    // Prompts of two lengths, so that the shorter one is padded.
    Generation got;
    try {
      got = generate(*model, kPrompts, there);
    } catch (const Error&) {
      if (!device.missing.empty()) GTEST_SKIP() << device.missing;
      throw;
    }
    EXPECT_EQ(got.ids, generate(*model, kPrompts, greedy).ids);
    const int64_t weights = device.allocated_bytes();

    // Beams copy rows of the cache, and begin as copies of one.
    for (GenerationOptions* o : {&greedy, &there}) o->num_beams = 2;
    EXPECT_EQ(generate(*model, {kPrompts[0]}, there).ids,
              generate(*model, {kPrompts[0]}, greedy).ids);
    EXPECT_LE(device.allocated_bytes(), weights + state.scratch()->bytes())
        << "a cache was left behind";
  }
  EXPECT_EQ(device.allocated_bytes(), 0);
}

TEST(DeviceGeneration, ADraftModelIsOnTheDeviceToo) {
  CpuDevice device;
  const auto model = gpt2();
  runtime::DeviceState state(device, device.modules());
  GenerationOptions greedy{
      .max_new_tokens = 6, .sampling = {.temperature = 0}, .stop_at_eos = false};
  GenerationOptions there = greedy;
  there.device = &state;
  Generation got;
  try {
    got = generate_speculative(*model, *model, kPrompts[0], there, 3);
  } catch (const Error&) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  EXPECT_EQ(got.ids, generate(*model, {kPrompts[0]}, greedy).ids);
  EXPECT_EQ(got.accepted, got.drafted);
}

// Rotary embedding and grouped heads, in bf16: logits close to the CPU's at every token.
TEST(DeviceGeneration, LlamaInBf16) {
  CpuDevice device;
  const auto model = build_model(
      R"({"model_type":"llama","vocab_size":61,"hidden_size":16,"intermediate_size":32,)"
      R"("num_attention_heads":4,"num_key_value_heads":2,"num_hidden_layers":1,)"
      R"("max_position_embeddings":32})",
      "", 3);
  model->to(DType::bf16);
  runtime::DeviceState state(device, device.modules());
  DecodeSession there(*model, 1, 16, true, false, &state), here(*model, 1, 16);
  std::vector<float> got;
  try {
    got = there.prefill(kPrompts[0]);
  } catch (const Error&) {
    if (!device.missing.empty()) GTEST_SKIP() << device.missing;
    throw;
  }
  std::vector<float> want = here.prefill(kPrompts[0]);
  for (int64_t token : {4, 11, 23}) {
    ASSERT_EQ(got.size(), want.size());
    for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], 0.02) << i;
    got = there.decode({token});
    want = here.decode({token});
  }
}

// The input's keys and values are computed once and stay there; beams share them.
TEST(DeviceGeneration, AnEncoderDecoder) {
  CpuDevice device;
  device.lazy = true;
  const auto model = AutoModelForSeq2SeqLM::from_config(
      R"({"model_type":"t5","vocab_size":61,"d_model":16,"d_kv":8,"d_ff":32,"num_layers":2,)"
      R"("num_heads":2,"decoder_start_token_id":0,"eos_token_id":1,"pad_token_id":0,)"
      R"("feed_forward_proj":"gated-gelu","tie_word_embeddings":false,"initializer_factor":2.0})");
  model->initialize(9);
  {
    runtime::DeviceState state(device, device.modules());
    GenerationOptions here{
        .max_new_tokens = 6, .sampling = {.temperature = 0}, .stop_at_eos = false};
    GenerationOptions there = here;
    there.device = &state;
    Generation got;
    try {
      got = generate(*model, kPrompts, there);
    } catch (const Error&) {
      if (!device.missing.empty()) GTEST_SKIP() << device.missing;
      throw;
    }
    EXPECT_EQ(got.ids, generate(*model, kPrompts, here).ids);
    const int64_t weights = device.allocated_bytes() - state.scratch()->bytes();
    for (GenerationOptions* o : {&here, &there}) o->num_beams = 2;
    EXPECT_EQ(generate(*model, kPrompts, there).ids, generate(*model, kPrompts, here).ids);
    EXPECT_EQ(device.allocated_bytes() - state.scratch()->bytes(), weights)
        << "a cache was left behind";
  }
  EXPECT_EQ(device.allocated_bytes(), 0);
}

// int8 and int4 weights.
TEST(DeviceGeneration, QuantisedWeights) {
  for (const Quantization& how : {load_in_8bit(), load_in_4bit()}) {
    CpuDevice device;
    const auto model = gpt2();
    quantize_model(*model, how);
    runtime::DeviceState state(device, device.modules());
    DecodeSession there(*model, 1, 16, true, false, &state), here(*model, 1, 16);
    std::vector<float> got;
    try {
      got = there.prefill(kPrompts[0]);
    } catch (const Error&) {
      if (!device.missing.empty()) GTEST_SKIP() << device.missing;
      throw;
    }
    std::vector<float> want = here.prefill(kPrompts[0]);
    for (int64_t token : {4, 11, 23}) {
      ASSERT_EQ(got.size(), want.size());
      for (size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], want[i], 2e-5) << how.bits << " bits, " << i;
      got = there.decode({token});
      want = here.decode({token});
    }
  }
}

}  // namespace
}  // namespace corten::cuda::test
