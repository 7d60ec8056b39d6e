// Feeds arbitrary bytes to the readers of config.json, of every family whatever its "model_type", and to
// those of generation_config.json and adapter_config.json. What is accepted describes a model of a
// plausible size and can be written and read again; all else is refused in one line.
#include <cstdlib>
#include <cstring>

#include "base/json.h"
#include "corten/error.h"
#include "corten/generate.h"
#include "corten/lora.h"
#include "corten/models.h"
#include "models/bert/bert.h"
#include "models/distilbert/distilbert.h"
#include "models/resnet/config.h"
#include "models/roberta/roberta.h"
#include "models/t5/config.h"
#include "models/vit/config.h"

namespace {

template <typename Read>
void expect_one_line(Read read) {
  try {
    read();
  } catch (const corten::Error& error) {
    if (error.kind() != corten::ErrorKind::Usage) std::abort();
    if (std::strchr(error.what(), '\n') != nullptr) std::abort();
  }
}

void expect(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  expect_one_line([&] {
    const corten::ModelInfo info = corten::model_info(text, "fuzz");
    expect(info.num_parameters >= 1 && info.vocab_size >= 1 && info.max_positions >= 1);
  });
  corten::Json json;
  try {
    json = corten::Json::parse(text, "fuzz");
  } catch (const corten::Error&) {
    return 0;
  }
  if (!json.is_object()) return 0;  // model_info() said so above; the families' readers need one
  using corten::layers::EncoderFamily;
  for (const EncoderFamily* family :
       {&corten::bert::kFamily, &corten::roberta::kFamily, &corten::distilbert::kFamily})
    expect_one_line([&] { expect(family->read(json, "fuzz").encoder_parameters() >= 1); });
  expect_one_line([&] { expect(corten::t5::read_config(json, "fuzz").num_parameters() >= 1); });
  expect_one_line([&] { expect(corten::vit::read(json, "fuzz") != nullptr); });
  expect_one_line([&] { expect(corten::resnet::read(json, "fuzz") != nullptr); });
  expect_one_line([&] {
    const std::string written = corten::GenerationConfig::from_json(text).to_json();
    expect(corten::GenerationConfig::from_json(written).to_json() == written);
  });
  expect_one_line([&] {
    const std::string written = corten::LoraConfig::from_json(text).to_json();
    expect(corten::LoraConfig::from_json(written).to_json() == written);
  });
  return 0;
}
