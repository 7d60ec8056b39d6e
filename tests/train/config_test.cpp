#include "train/config.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/format.h"
#include "models/presets.h"
#include "train/model_setup.h"

namespace corten {
namespace {

// Lines are counted in the messages below.
constexpr const char* kGood =
    "[model]\n"                                                        // 1
    "model_type = \"gpt2\"\n"                                          // 2
    "n_layer = 4\n"                                                    // 3
    "n_embd = 256\n"                                                   // 4
    "n_head = 4\n"                                                     // 5
    "n_positions = 256\n"                                              // 6
    "[tokenizer]\n"                                                    // 7
    "vocab_size = 4096\n"                                              // 8
    "[data]\n"                                                         // 9
    "text = [\"a.txt\", \"b.txt\"]\n"                                  // 10
    "seq = 128\n"                                                      // 11
    "[train]\n"                                                        // 12
    "steps = 300\n"                                                    // 13
    "dtype = \"bf16\"\n"                                               // 14
    "[optim]\n"                                                        // 15
    "lr = 1e-3\n";                                                     // 16

ConfigInputs inputs(std::string text) {
  ConfigInputs in;
  in.path = "demo.toml";
  in.text = std::move(text);
  return in;
}
ResolvedConfig load(const std::string& text) { return load_config(inputs(text)); }

/// The message of the Usage error that loading raises, or "" if it raises none.
std::string fault(const ConfigInputs& in) {
  try {
    load_config(in);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "";
}
std::string fault(const std::string& text) { return fault(inputs(text)); }
std::string fault_set(std::string set) {
  ConfigInputs in = inputs(kGood);
  in.sets = {std::move(set)};
  return fault(in);
}
std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(Config, ReadsAFile) {
  const ResolvedConfig resolved = load(kGood);
  const Config& c = resolved.config;
  EXPECT_EQ(c.model.model_type, "gpt2");
  EXPECT_EQ(c.model.fields.at("n_layer").as_int(), 4);
  EXPECT_EQ(c.tokenizer.vocab_size, 4096);
  EXPECT_EQ(c.data.text, (std::vector<std::string>{"a.txt", "b.txt"}));
  EXPECT_EQ(c.data.seq, 128);
  EXPECT_EQ(c.train.steps, 300);
  EXPECT_EQ(c.train.dtype, DType::bf16);
  EXPECT_EQ(c.train.batch, 8);
  EXPECT_EQ(c.optim.lr, 1e-3);
  EXPECT_EQ(c.optim.betas[1], 0.95);
  EXPECT_EQ(resolved.origins.at("train.steps").layer, ConfigLayer::File);
  EXPECT_EQ(resolved.origins.at("train.steps").where, "demo.toml:13");
  EXPECT_EQ(resolved.origins.at("train.batch").layer, ConfigLayer::Default);
}

TEST(Config, DerivedDefaults) {
  const ResolvedConfig resolved = load(kGood);
  EXPECT_EQ(resolved.config.optim.min_lr, 1e-4);
  EXPECT_EQ(resolved.config.train.out, "runs/demo");
  EXPECT_EQ(load(replaced(kGood, "lr = 1e-3", "")).config.optim.min_lr, 6e-5);
  EXPECT_EQ(load(replaced(kGood, "lr = 1e-3", "lr = 1e-3\nmin_lr = 0")).config.optim.min_lr, 0.0);
}

TEST(Config, LayersOverrideEachOtherInOrder) {
  ConfigInputs in = inputs(kGood);
  auto steps = [&] { return load_config(in).config.train.steps; };
  auto where = [&] { return load_config(in).origins.at("train.steps").where; };
  EXPECT_EQ(load(replaced(kGood, "steps = 300\n", "")).config.train.steps, 500);
  EXPECT_EQ(steps(), 300);
  in.environment = {{"CORTEN_TRAIN_STEPS", "30"}};
  EXPECT_EQ(steps(), 30);
  EXPECT_EQ(where(), "CORTEN_TRAIN_STEPS");
  in.sets = {"train.steps=3"};
  EXPECT_EQ(steps(), 3);
  in.sets.push_back("train.steps = 4");
  EXPECT_EQ(steps(), 4);
  EXPECT_EQ(where(), "--set train.steps = 4");
  in.flags = {{"train.steps", 1, "--steps"}};
  EXPECT_EQ(steps(), 1);
  EXPECT_EQ(where(), "--steps");
}

TEST(Config, PresetLiesBelowTheFile) {
  const std::string text = replaced(
      kGood, "model_type = \"gpt2\"\nn_layer = 4\nn_embd = 256\nn_head = 4\nn_positions = 256\n",
      "preset = \"gpt2-medium\"\nn_layer = 2\n");
  const ResolvedConfig resolved = load(text);
  EXPECT_EQ(resolved.config.model.fields.at("n_layer").as_int(), 2);
  EXPECT_EQ(resolved.config.model.fields.at("n_embd").as_int(), 1024);
  EXPECT_EQ(resolved.config.model.fields.find("vocab_size"), nullptr);
  EXPECT_EQ(resolved.origins.at("model.n_embd").layer, ConfigLayer::Preset);
  EXPECT_EQ(fault(replaced(text, "gpt2-medium", "gpt2-mediun")).substr(0, 90),
            "demo.toml:2: model.preset: unknown model preset \"gpt2-mediun\"; did you mean \"gpt2-medium\"?");
}

TEST(Config, EveryPresetLoads) {
  for (const std::string& name : preset_names()) {
    const Json preset = preset_config(name);
    Json fields = preset;  // as a file may have them
    for (const char* other : {"model_type", "rope_scaling"}) fields.erase(other);
    EXPECT_NO_THROW(check_model_fields(fields, preset.at("model_type").as_string(),
                                       [](const std::string& key) { return key; }))
        << name;
    for (const auto& [key, value] : preset.items()) {
      if (key == "rope_scaling") continue;  // an object, which only config.json can hold
      const ConfigField* field = find_config_field("model." + key);
      ASSERT_NE(field, nullptr) << key;
      EXPECT_EQ(field->check(value), "") << key;
    }
  }
}

TEST(Config, UnknownKeysNameFileLineAndSuggestion) {
  EXPECT_EQ(fault(replaced(kGood, "steps", "stesp")),
            "demo.toml:13: unknown key train.stesp; did you mean \"steps\"?");
  EXPECT_EQ(fault(replaced(kGood, "[train]", "[trian]")),
            "demo.toml:12: unknown section trian; did you mean \"train\"?");
  EXPECT_EQ(fault(replaced(kGood, "seq", "batch")),
            "demo.toml:11: unknown key data.batch; did you mean \"train.batch\"?");
  EXPECT_EQ(fault("steps = 3\n" + std::string(kGood)),
            "demo.toml:1: unknown key steps; did you mean \"train.steps\"?");
  EXPECT_EQ(fault("train = 3\n"), "demo.toml:1: train must be a section ([train]), is 3");
  EXPECT_EQ(fault_set("train.stesp=3"),
            "--set train.stesp=3: unknown key train.stesp; did you mean \"steps\"?");
  EXPECT_EQ(fault_set("train.steps"), "--set train.steps: needs the form section.key=value");
  ConfigInputs in = inputs(kGood);
  in.environment = {{"CORTEN_TRAIN_STEP", "3"}};
  EXPECT_EQ(fault(in),
            "unknown environment variable CORTEN_TRAIN_STEP; did you mean \"CORTEN_TRAIN_STEPS\"?");
}

TEST(Config, WrongTypesAndRangesNameFileAndLine) {
  EXPECT_EQ(fault(replaced(kGood, "300", "\"ten\"")),
            "demo.toml:13: train.steps must be an integer, is \"ten\"");
  EXPECT_EQ(fault(replaced(kGood, "300", "3.5")),
            "demo.toml:13: train.steps must be an integer, is 3.5");
  EXPECT_EQ(fault(replaced(kGood, "300", "0")), "demo.toml:13: train.steps must be at least 1, is 0");
  EXPECT_EQ(fault(replaced(kGood, "\"bf16\"", "\"bf61\"")),
            "demo.toml:14: train.dtype must be one of f32, bf16, f16, is \"bf61\"; did you mean "
            "\"bf16\"?");
  EXPECT_EQ(fault(replaced(kGood, "1e-3", "nan")), "demo.toml:16: optim.lr must be finite, is nan");
  EXPECT_EQ(fault(replaced(kGood, "1e-3", "-1")),
            "demo.toml:16: optim.lr must be at least 0, is -1");
  EXPECT_EQ(fault(replaced(kGood, "1e-3", "1e-3\nbetas = [0.9]")),
            "demo.toml:17: optim.betas must be a list of two numbers, is [0.9]");
  EXPECT_EQ(fault(replaced(kGood, "1e-3", "1e-3\nbetas = [0.9, 1.0]")),
            "demo.toml:17: optim.betas must be less than 1, is 1.0");
  EXPECT_EQ(fault_set("train.steps=ten"),
            "--set train.steps=ten: train.steps must be an integer, is \"ten\"");
  EXPECT_EQ(fault_set("train.compile=maybe"),
            "--set train.compile=maybe: train.compile must be true or false, is \"maybe\"");
  EXPECT_EQ(fault(replaced(kGood, "300", "")).substr(0, 13), "demo.toml:13:");
}

TEST(Config, ValuesMustFitEachOther) {
  EXPECT_EQ(fault_set("train.virtual_shards=3"),
            "--set train.virtual_shards=3: train.batch = 8 is no multiple of train.virtual_shards "
            "= 3");
  EXPECT_EQ(fault_set("data.seq=257"),
            "--set data.seq=257: data.seq = 257 exceeds model.n_positions = 256");
  EXPECT_EQ(fault(replaced(kGood, "n_head = 4", "n_head = 3")),
            "demo.toml:4: model.n_embd = 256 is no multiple of model.n_head = 3");
  EXPECT_EQ(fault_set("optim.schedule=step"),
            "--set optim.schedule=step: optim.schedule = \"step\" needs optim.step_size and "
            "optim.gamma");
  EXPECT_EQ(fault_set("train.memory_budget=lots").substr(0, 33), "--set train.memory_budget=lots: t");
  EXPECT_EQ(fault_set("model.vocab_size=100"),
            "--set model.vocab_size=100: model.vocab_size = 100 is smaller than "
            "tokenizer.vocab_size = 4096");
  EXPECT_EQ(fault_set("optim.min_lr=1"), "--set optim.min_lr=1: optim.min_lr = 1 exceeds optim.lr = 0.001");
  EXPECT_EQ(fault_set("model.init=pretrained"),
            "--set model.init=pretrained: model.init = \"pretrained\" needs model.path, a folder "
            "with weights");
  EXPECT_EQ(fault(""),
            "demo.toml: [model] needs one of preset (\"gpt2\", ...), path and model_type");
  EXPECT_EQ(fault(replaced(kGood, "vocab_size = 4096\n", "")),
            "demo.toml: [tokenizer] needs one of path and vocab_size");
  EXPECT_EQ(fault(replaced(kGood, "text = [\"a.txt\", \"b.txt\"]\n", "")),
            "demo.toml: [data] needs one of text (a list of files) and shards (a folder)");
}

TEST(Config, ExclusiveKeys) {
  EXPECT_EQ(fault(replaced(kGood, "n_layer = 4", "preset = \"gpt2\"")),
            "demo.toml:3: model.preset and model.model_type (demo.toml:2) exclude each other");
  EXPECT_EQ(fault(replaced(kGood, "steps = 300", "steps = 300\nepochs = 2")),
            "demo.toml:14: train.epochs and train.steps (demo.toml:13) exclude each other");
  // A later layer replaces an earlier one's choice.
  ConfigInputs in = inputs(kGood);
  in.sets = {"train.epochs=2", "data.shards=dir", "tokenizer.path=t.json"};
  const Config c = load_config(in).config;
  EXPECT_EQ(c.train.epochs, 2.0);
  EXPECT_EQ(c.train.steps, 0);
  EXPECT_TRUE(c.data.text.empty());
  EXPECT_EQ(c.tokenizer.vocab_size, 0);
}

TEST(Config, TextForms) {
  auto with = [](const std::string& set) {
    ConfigInputs in = inputs(kGood);
    in.sets = {set};
    return load_config(in).config;
  };
  EXPECT_EQ(with("data.text=x.txt, y.txt").data.text, (std::vector<std::string>{"x.txt", "y.txt"}));
  EXPECT_EQ(with("data.text=[\"a,b\"]").data.text, std::vector<std::string>{"a,b"});
  EXPECT_EQ(with("optim.betas=0.8,0.9").optim.betas[0], 0.8);
  EXPECT_EQ(with("optim.betas=[0.8, 0.9]").optim.betas[1], 0.9);
  EXPECT_EQ(with("optim.lr=1").optim.lr, 1.0);
  EXPECT_FALSE(with("train.compile=false").train.compile);
  EXPECT_FALSE(with("train.compile=0").train.compile);
  EXPECT_EQ(with("train.out=a=b c").train.out, "a=b c");
  EXPECT_EQ(with("train.out=\"q\\tr\"").train.out, "q\tr");
  EXPECT_EQ(with("train.memory_budget=2GiB").train.memory_budget_bytes(), 2ull << 30);
  EXPECT_EQ(fault_set("train.out=\"open"),
            "--set train.out=\"open: train.out: \"\\\"open\" is no TOML value");
}

TEST(Config, TomlAndTemplateReadBack) {
  const Config config = load(kGood).config;
  for (bool comments : {false, true}) {
    ConfigInputs in = inputs(config_to_toml(config, comments));
    const Config again = load_config(in).config;
    EXPECT_TRUE(compare_configs(config, again, true).empty()) << config_to_toml(config, comments);
  }
  // Every key that is commented out has an example that its field accepts.
  for (const ConfigField& field : config_fields()) {
    EXPECT_FALSE(field.help.empty()) << field.key;
    if (!field.get(Config()).is_null()) continue;
    ASSERT_FALSE(field.example.empty()) << field.key;
    EXPECT_EQ(field.check(field.from_text(field.example)), "") << field.key;
  }
}

TEST(Config, Comparison) {
  const Config a = load(kGood).config;
  Config b = a;
  b.train.threads = 3;
  EXPECT_TRUE(compare_configs(a, b).empty());
  EXPECT_EQ(compare_configs(a, b, true).size(), 1u);
  b.optim.lr = 2e-3;
  b.model.fields.erase("n_head");
  const auto differences = compare_configs(a, b);
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].key, "model.n_head");
  EXPECT_EQ(differences[0].a, Json(4));
  EXPECT_TRUE(differences[0].b.is_null());
  EXPECT_EQ(differences[1].key, "optim.lr");
}

TEST(Config, JsonSchema) {
  const Json schema = config_json_schema();
  const Json& steps = schema.at("properties").at("train").at("properties").at("steps");
  EXPECT_EQ(steps.at("type"), Json("integer"));
  EXPECT_EQ(steps.at("minimum"), Json(1));
  EXPECT_EQ(steps.at("default"), Json(500));
  EXPECT_EQ(schema.at("properties").at("train").at("additionalProperties"), Json(false));
  EXPECT_EQ(schema.at("properties").at("train").at("properties").at("dtype").at("enum").size(), 3u);
  for (const ConfigField& field : config_fields())
    EXPECT_TRUE(schema.at("properties").at(field.section()).at("properties").contains(field.name()));
}

TEST(Config, PathsAreChecked) {
  const std::string folder = ::testing::TempDir() + format("corten_config_{}", ::getpid());
  create_folders(folder);
  const std::string text = folder + "/a.txt";
  ConfigInputs in = inputs(kGood);
  in.sets = {"data.text=" + text};
  const ResolvedConfig resolved = load_config(in);
  try {
    check_config_paths(resolved);
    FAIL() << "accepted a missing file";
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()),
              format("--set data.text={}: data.text: no file \"{}\"", text, text));
  }
  write_file_atomic(text, "text");
  check_config_paths(resolved);
  remove_folder(folder);
}

TEST(Config, EnvironmentOfTheProcess) {
  setenv("CORTEN_TRAIN_STEPS", "77", 1);
  setenv("CORTEN_ISA", "avx2", 1);  // no key of the configuration
  const auto variables = config_environment();
  unsetenv("CORTEN_TRAIN_STEPS");
  unsetenv("CORTEN_ISA");
  ConfigInputs in = inputs(kGood);
  in.environment = variables;
  EXPECT_EQ(load_config(in).config.train.steps, 77);
}

}  // namespace
}  // namespace corten
