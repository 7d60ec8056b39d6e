// check_model_folder() on folders of which one file contradicts another.
#include "corten/check_folder.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "corten/error.h"
#include "corten/safetensors.h"
#include "temp_folder.h"

namespace corten {
namespace {

constexpr const char* kTokenizer = R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[
 {"id":3,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},
 {"id":4,"content":"<|end|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
 "normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
 "model":{"type":"WordLevel","vocab":{"<unk>":0,"one":1,"two":2},"unk_token":"<unk>"}})";
constexpr const char* kTemplate =
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}<|end|>{% endfor %}";

class CheckFolder : public ::testing::Test {
 protected:
  void SetUp() override {
    config(R"("vocab_size": 5, "tie_word_embeddings": false, "eos_token_id": 3)");
    weights(5, true, 0);
  }
  void write(const char* name, const std::string& text) {
    std::ofstream(std::filesystem::path(folder_.path()) / name) << text;
  }
  void config(const std::string& fields) {
    write("config.json", R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"], )" + fields + "}");
  }
  void weights(int64_t rows, bool head, float difference) {
    std::vector<float> embedding(static_cast<size_t>(rows * 2), 1), other = embedding;
    other[0] += difference;
    const auto stored = [&](const char* name, const std::vector<float>& values) {
      return StoredTensor{name, "F32", {rows, 2}, std::as_bytes(std::span(values))};
    };
    std::vector<StoredTensor> tensors = {stored("model.embed_tokens.weight", embedding)};
    if (head) tensors.push_back(stored("lm_head.weight", other));
    write_safetensors((std::filesystem::path(folder_.path()) / "model.safetensors").string(), tensors);
  }
  void tokenizer(const std::string& eos) {
    write("tokenizer.json", kTokenizer);
    write("tokenizer_config.json", R"({"eos_token": ")" + eos + R"("})");
  }
  /// "fatal? what" of all problems, in order.
  std::vector<std::string> problems() {
    std::vector<std::string> out;
    for (const FolderProblem& p : check_model_folder(folder_.path())) {
      EXPECT_FALSE(p.fix.empty());
      EXPECT_EQ((p.what + p.fix).find('\n'), std::string::npos);
      out.push_back((p.fatal ? "fatal: " : "") + p.what);
    }
    return out;
  }

  corten::testing::TempFolder folder_;
};

using Texts = std::vector<std::string>;

TEST_F(CheckFolder, NothingToSay) {
  tokenizer("</s>");
  EXPECT_EQ(problems(), Texts());
}

TEST_F(CheckFolder, RowsOfTheEmbedding) {
  weights(6, true, 0);
  EXPECT_EQ(problems(),
            Texts{"fatal: config.json says vocab_size = 5, but model.embed_tokens.weight has 6 rows"});
}

TEST_F(CheckFolder, TiedHeads) {
  weights(5, false, 0);
  EXPECT_EQ(problems(),
            Texts{"fatal: config.json says tie_word_embeddings = false, but there is no lm_head.weight"});
  config(R"("vocab_size": 5, "tie_word_embeddings": true)");
  EXPECT_EQ(problems(), Texts());
  weights(5, true, 0);
  EXPECT_EQ(problems(), Texts());
  weights(5, true, 1);
  EXPECT_EQ(problems(), Texts{"config.json ties the head to model.embed_tokens.weight, but the file has an "
                              "lm_head.weight of its own, which is not read"});
}

TEST_F(CheckFolder, IdsBeyondTheVocabulary) {
  config(R"("vocab_size": 5, "pad_token_id": 5)");
  write("generation_config.json", R"({"eos_token_id": [3, 9]})");
  EXPECT_EQ(problems(), (Texts{"pad_token_id of config.json is 5, but the model has 5 tokens",
                               "eos_token_id of generation_config.json is 9, but the model has 5 tokens"}));
}

TEST_F(CheckFolder, RotaryFields) {
  config(R"("vocab_size": 5, "rope_theta": 10000.0, "max_position_embeddings": 64,
            "rope_parameters": {"rope_theta": 500000.0, "original_max_position_embeddings": 128})");
  EXPECT_EQ(problems(), (Texts{"config.json has rope_theta = 10000 and rope_parameters.rope_theta = 500000",
                               "rope_parameters.original_max_position_embeddings = 128 is above "
                               "max_position_embeddings = 64"}));
}

TEST_F(CheckFolder, TokensWithoutARow) {
  config(R"("vocab_size": 4, "eos_token_id": 3)");
  weights(4, true, 0);
  tokenizer("</s>");
  EXPECT_EQ(problems(), Texts{"tokenizer.json has ids up to 4 (\"<|end|>\"), but the model has 4 tokens"});
}

TEST_F(CheckFolder, EndsOfTextsAndTurns) {
  tokenizer("<|end|>");
  EXPECT_EQ(problems(), Texts{"the tokenizer's eos_token is 4 (\"<|end|>\"), which eos_token_id of config.json "
                              "does not name"});
  tokenizer("</s>");
  write("chat_template.jinja", kTemplate);
  EXPECT_EQ(problems(), Texts{"the chat template ends an answer with 4 (\"<|end|>\"), which eos_token_id of "
                              "config.json does not name: answers will not end"});
  write("generation_config.json", R"({"eos_token_id": [3, 4]})");
  EXPECT_EQ(problems(), Texts());
}

TEST_F(CheckFolder, NobodySaysWhatEndsAText) {
  config(R"("vocab_size": 5)");
  tokenizer("</s>");
  EXPECT_EQ(problems(), Texts{"the tokenizer's eos_token is 3 (\"</s>\"), but neither config.json nor "
                              "generation_config.json has an eos_token_id, which is then 2, as of other "
                              "llama models"});
  config(R"("vocab_size": 5, "eos_token_id": null)");
  write("chat_template.jinja", kTemplate);
  EXPECT_EQ(problems(),
            (Texts{"the tokenizer's eos_token is 3 (\"</s>\"), but neither config.json nor "
                   "generation_config.json has an eos_token_id",
                   "the chat template ends an answer with 4 (\"<|end|>\"), but neither config.json nor "
                   "generation_config.json has an eos_token_id: answers will not end"}));
  // Classifiers end nothing.
  write("config.json", R"({"model_type": "llama", "architectures": ["LlamaForSequenceClassification"]})");
  EXPECT_EQ(problems(), Texts());
}

TEST_F(CheckFolder, TokensThatAreNone) {
  tokenizer("<|im_end|>");
  EXPECT_EQ(problems(), Texts{"eos_token of tokenizer_config.json is \"<|im_end|>\", which is no token of "
                              "tokenizer.json"});
}

TEST_F(CheckFolder, TemplatesThatAreNone) {
  tokenizer("</s>");
  write("chat_template.jinja", "{% for m in messages %}{{ m }");
  const Texts found = problems();
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].find("the chat template cannot be used: chat template: line 1: "), 0u) << found[0];
}

TEST_F(CheckFolder, TypeAndArchitecture) {
  write("config.json", R"({"model_type": "llama", "architectures": ["MistralForCausalLM"]})");
  EXPECT_EQ(problems(), Texts{"config.json says model_type = \"llama\", but its architecture "
                              "MistralForCausalLM is of type \"mistral\""});
  write("config.json", R"({"architectures": ["MistralForCausalLM"]})");
  EXPECT_EQ(problems(), Texts());
}

TEST_F(CheckFolder, OlderRotaryFields) {
  config(R"("vocab_size": 5, "max_position_embeddings": 64, "rope_scaling": {"type": "linear", "factor": 2,
            "original_max_position_embeddings": 128},
            "rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10000})");
  EXPECT_EQ(problems(), (Texts{"rope_scaling.original_max_position_embeddings = 128 is above "
                               "max_position_embeddings = 64",
                               "config.json has rope_scaling.rope_type = \"linear\" and "
                               "rope_parameters.rope_type = \"yarn\""}));
}

TEST_F(CheckFolder, DamagedFilesAreErrors) {
  std::filesystem::create_symlink("tokenizer.json",
                                  std::filesystem::path(folder_.path()) / "tokenizer.json");
  EXPECT_THROW(check_model_folder(folder_.path()), Error);
  std::filesystem::remove(std::filesystem::path(folder_.path()) / "tokenizer.json");
  write("generation_config.json", "[]");
  EXPECT_THROW(check_model_folder(folder_.path()), Error);
  EXPECT_THROW(check_model_folder(folder_.path() + "/none"), Error);
}

}  // namespace
}  // namespace corten
