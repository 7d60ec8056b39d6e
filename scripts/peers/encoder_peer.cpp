// The C++ side of compare_encoders.py and compare_sentence_embeddings.py.
//   encoder_peer save base|mlm|classes FOLDER OUT   loads a model and writes it again
//   encoder_peer embed FOLDER < TEXTS               one line of numbers for each line of text: the
//                                                   mean of its tokens' states, of length 1
#include <cstdio>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "corten/encoders.h"
#include "corten/tokenizer.h"

using namespace corten;

namespace {

void save(const std::string& task, const std::string& folder, const std::string& out) {
  if (task == "base")
    AutoModel::from_pretrained(folder)->save_pretrained(out);
  else if (task == "mlm")
    AutoModelForMaskedLM::from_pretrained(folder)->save_pretrained(out);
  else
    AutoModelForSequenceClassification::from_pretrained(folder)->save_pretrained(out);
}

/// [B, C] of B texts.
Tensor embeddings(Encoder& model, const Tokenizer& tokenizer,
                  const std::vector<std::string>& texts) {
  std::vector<TextInput> inputs;
  for (const std::string& text : texts) inputs.push_back({.first = text, .second = {}});
  EncodeOptions options;
  options.truncation = Truncation{};
  options.truncation->max_length = 256;
  options.padding = Padding{};
  std::vector<int64_t> ids, mask, types;
  for (const Encoding& encoding : tokenizer.encode_batch(inputs, options)) {
    ids.insert(ids.end(), encoding.ids.begin(), encoding.ids.end());
    mask.insert(mask.end(), encoding.attention_mask.begin(), encoding.attention_mask.end());
    types.insert(types.end(), encoding.type_ids.begin(), encoding.type_ids.end());
  }
  const auto rows = static_cast<int64_t>(texts.size());
  const Shape shape = {rows, static_cast<int64_t>(ids.size()) / rows};
  const Tensor mask_BT = from_vector(mask, shape);
  const NoGradGuard no_grad;
  const Tensor x_BTC = model({.ids = from_vector(ids, shape),
                              .attention_mask = mask_BT,
                              .token_type_ids = from_vector(types, shape)})
                           .last_hidden_state;
  const Tensor weight_BT1 = mask_BT.to(DType::f32).unsqueeze(2);
  const Tensor mean_BC = sum(x_BTC * weight_BT1, {1}) / sum(weight_BT1, {1});
  return mean_BC / sqrt(sum(square(mean_BC), {1}, true));
}

void embed(const std::string& folder) {
  const auto model = AutoModel::from_pretrained(folder);
  const Tokenizer tokenizer = Tokenizer::from_pretrained(folder);
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);) texts.push_back(line);
  if (texts.empty()) return;
  const Tensor all_BC = embeddings(*model, tokenizer, texts);
  for (int64_t row = 0; row < all_BC.size(0); ++row) {
    for (float x : all_BC[row].to_vector<float>()) std::printf("%.9g ", static_cast<double>(x));
    std::printf("\n");
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  if (arguments.size() == 4 && arguments[0] == "save")
    save(arguments[1], arguments[2], arguments[3]);
  else if (arguments.size() == 2 && arguments[0] == "embed")
    embed(arguments[1]);
  else
    throw std::runtime_error("usage: encoder_peer save base|mlm|classes FOLDER OUT | embed FOLDER");
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
