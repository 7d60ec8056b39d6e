// The table of configuration keys and what follows from it alone: checks of single values, reading
// them from text, JSON Schema, help, and the TOML form of a configuration.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "base/format.h"
#include "base/strings.h"
#include "base/toml.h"
#include "corten/models.h"
#include "corten/seq2seq.h"
#include "train/config.h"

namespace corten {
namespace {

using Type = ConfigField::Type;
constexpr double kMaxInt = 9.2e18;

Json to_json(const std::string& value) { return value; }
Json to_json(bool value) { return value; }
Json to_json(int64_t value) { return value; }
Json to_json(double value) { return value; }
Json to_json(DType value) { return name(value); }
Json to_json(const std::vector<std::string>& value) { return value; }
Json to_json(const std::array<double, 2>& value) {
  return std::vector<double>(value.begin(), value.end());
}

void from_json(const Json& json, std::string& value) { value = json.as_string(); }
void from_json(const Json& json, bool& value) { value = json.as_bool(); }
void from_json(const Json& json, int64_t& value) { value = json.as_int(); }
void from_json(const Json& json, double& value) { value = json.as_double(); }
void from_json(const Json& json, DType& value) { value = dtype_from_name(json.as_string()); }
void from_json(const Json& json, std::vector<std::string>& value) {
  value.clear();
  for (const Json& element : json.elements()) value.push_back(element.as_string());
}
void from_json(const Json& json, std::array<double, 2>& value) {
  for (size_t i = 0; i < value.size(); ++i) value[i] = json.at(i).as_double();
}

template <typename T>
constexpr Type type_of() {
  if constexpr (std::is_same_v<T, bool>) return Type::Boolean;
  if constexpr (std::is_same_v<T, int64_t>) return Type::Integer;
  if constexpr (std::is_same_v<T, double>) return Type::Number;
  if constexpr (std::is_same_v<T, std::vector<std::string>>) return Type::StringList;
  if constexpr (std::is_same_v<T, std::array<double, 2>>) return Type::NumberPair;
  return Type::String;
}

/// Collects the fields; the setters chained to add() describe the one added last.
class Table {
 public:
  template <typename Section, typename T>
  Table& add(const char* key, Section Config::*section, T Section::*member, std::string help) {
    ConfigField& field = fields.emplace_back();
    field.key = key;
    field.type = type_of<T>();
    field.help = std::move(help);
    field.get = [section, member](const Config& c) { return to_json(c.*section.*member); };
    field.set = [section, member](Config& c, const Json& v) { from_json(v, c.*section.*member); };
    return *this;
  }
  /// A Hugging Face config field, kept in ModelConfig::fields.
  Table& model_field(const char* name, Type type, std::string help) {
    ConfigField& field = fields.emplace_back();
    field.key = format("model.{}", name);
    field.type = type;
    field.help = std::move(help);
    field.optional = true;
    field.get = [key = std::string(name)](const Config& c) {
      const Json* value = c.model.fields.find(key);
      return value ? *value : Json();
    };
    field.set = [key = std::string(name)](Config& c, const Json& v) {
      if (v.is_null())
        c.model.fields.erase(key);
      else
        c.model.fields.set(key, v);
    };
    return *this;
  }
  Table& range(double min, double max = kMaxInt) {
    last().min = min;
    last().max = max;
    return *this;
  }
  Table& below(double max) {
    last().max = max;
    last().max_exclusive = true;
    return *this;
  }
  Table& choices(std::vector<std::string> names) {
    last().choices = std::move(names);
    return *this;
  }
  /// The type's empty value (0, "", []) means "not set".
  Table& optional() {
    ConfigField& field = last();
    const Json unset = field.type == Type::String       ? Json("")
                       : field.type == Type::StringList ? Json::array()
                       : field.type == Type::Number     ? Json(0.0)
                                                        : Json(0);
    field.optional = true;
    field.get = [get = field.get, unset](const Config& c) {
      Json value = get(c);
      return value == unset ? Json() : value;
    };
    field.set = [set = field.set, unset](Config& c, const Json& v) {
      set(c, v.is_null() ? unset : v);
    };
    return *this;
  }
  Table& example(std::string toml) {
    last().example = std::move(toml);
    return *this;
  }
  Table& free() {
    last().changes_result = false;
    return *this;
  }

  std::vector<ConfigField> fields;

 private:
  ConfigField& last() { return fields.back(); }
};

std::vector<std::string> trained_types() {
  std::vector<std::string> names = model_types();
  for (std::string& name : seq2seq_model_types()) names.push_back(std::move(name));
  return names;
}

void add_model(Table& t) {
  constexpr auto section = &Config::model;
  using M = ModelConfig;
  t.add("model.preset", section, &M::preset, "a built-in architecture").optional().example(
      "\"gpt2\"");
  t.add("model.path", section, &M::path,
        "or a folder in Hugging Face layout: its config.json and weights")
      .optional()
      .example("\"folder\"");
  t.add("model.model_type", section, &M::model_type, "or an architecture and its fields below")
      .optional()
      .choices(trained_types())
      .example("\"gpt2\"");
  t.add("model.init", section, &M::init, "weights to start from; by default those of path")
      .optional()
      .choices({"random", "pretrained"})
      .example("\"random\"");
  t.add("model.task", section, &M::task,
        "what to learn: next tokens, the labels of texts (needs path), or pairs of texts")
      .optional()
      .choices({"causal-lm", "sequence-classification", "seq2seq-lm"})
      .example("\"sequence-classification\"");
  t.model_field("n_layer", Type::Integer, "transformer blocks").range(1, 1e4).example("4");
  t.model_field("n_embd", Type::Integer, "width of the residual stream").range(1, 1e6).example("256");
  t.model_field("n_head", Type::Integer, "attention heads; divides n_embd").range(1, 1e4).example("4");
  t.model_field("n_positions", Type::Integer, "longest sequence").range(1, 1e8).example("256");
  t.model_field("n_inner", Type::Integer, "width of the feed-forward layer; by default 4 n_embd")
      .range(1, 1e7)
      .example("1024");
  t.model_field("vocab_size", Type::Integer, "rows of the embedding; by default the tokenizer's")
      .range(1, 1e8)
      .example("50257");
  t.model_field("activation_function", Type::String, "of the feed-forward layer")
      .choices({"gelu_new", "gelu_pytorch_tanh", "gelu_fast", "gelu", "relu", "silu", "swish", "tanh"})
      .example("\"gelu_new\"");
  t.model_field("resid_pdrop", Type::Number, "dropout of each block's outputs")
      .range(0)
      .below(1)
      .example("0.1");
  t.model_field("embd_pdrop", Type::Number, "dropout of the embeddings").range(0).below(1).example(
      "0.1");
  t.model_field("attn_pdrop", Type::Number, "dropout of the attention weights")
      .range(0)
      .below(1)
      .example("0.1");
  t.model_field("layer_norm_epsilon", Type::Number, "added to variances").range(0, 1).example("1e-5");
  t.model_field("initializer_range", Type::Number, "standard deviation of fresh weights")
      .range(0, 100)
      .example("0.02");
  t.model_field("scale_attn_weights", Type::Boolean, "divide scores by sqrt(head size)")
      .example("true");
  t.model_field("scale_attn_by_inverse_layer_idx", Type::Boolean,
                "also divide scores by the block's number")
      .example("false");
  t.model_field("tie_word_embeddings", Type::Boolean, "output weights = input embedding")
      .example("true");
  // Of the decoders; GPT-2 has its own names above.
  const auto size = [&](const char* name, std::string help, double most, std::string example) {
    t.model_field(name, Type::Integer, std::move(help)).range(1, most).example(std::move(example));
  };
  size("hidden_size", "llama, mistral, qwen, gemma: width of the residual stream", 1e6, "256");
  size("intermediate_size", "width of the gated feed-forward layer", 1e7, "688");
  size("num_hidden_layers", "transformer blocks", 4096, "4");
  size("num_attention_heads", "query heads", 1e4, "4");
  size("num_key_value_heads", "key and value heads; divides num_attention_heads", 1e4, "2");
  size("head_dim", "size of a head; by default hidden_size / num_attention_heads", 1e4, "64");
  size("max_position_embeddings", "longest sequence", 1.6e7, "256");
  t.model_field("hidden_act", Type::String, "of the feed-forward layer").example("\"silu\"");
  t.model_field("hidden_activation", Type::String, "the same for gemma2")
      .example("\"gelu_pytorch_tanh\"");
  t.model_field("rms_norm_eps", Type::Number, "added to mean squares").range(0, 1).example("1e-5");
  t.model_field("rope_theta", Type::Number, "base of the rotary embedding's wavelengths")
      .range(1, 1e12)
      .example("10000.0");
  t.model_field("attention_bias", Type::Boolean, "biases in attention").example("false");
  t.model_field("mlp_bias", Type::Boolean, "llama: biases in the feed-forward layer").example("false");
  t.model_field("attention_dropout", Type::Number, "dropout of the attention weights")
      .range(0)
      .below(1)
      .example("0.0");
  size("sliding_window", "mistral, qwen, gemma2: keys that a query sees", 1.6e7, "128");
  t.model_field("use_sliding_window", Type::Boolean, "qwen: whether layers slide at all")
      .example("false");
  t.model_field("max_window_layers", Type::Integer, "qwen: layers before the first that slides")
      .range(0, 4096)
      .example("2");
  size("query_pre_attn_scalar", "gemma2: scores / sqrt of this", 1e6, "64");
  t.model_field("attn_logit_softcapping", Type::Number, "gemma2: smooth bound of scores")
      .range(1e-6, 1e6)
      .example("50.0");
  t.model_field("final_logit_softcapping", Type::Number, "gemma2: smooth bound of logits")
      .range(1e-6, 1e6)
      .example("30.0");
  size("d_model", "t5: width of the residual stream", 1e6, "512");
  size("d_kv", "t5: size of a head", 1 << 14, "64");
  size("d_ff", "t5: width of the feed-forward layer", 1e7, "2048");
  size("num_layers", "t5: blocks of the encoder", 4096, "6");
  size("num_decoder_layers", "t5: blocks of the decoder; by default num_layers", 4096, "6");
  size("num_heads", "t5: attention heads", 1 << 16, "8");
  t.model_field("feed_forward_proj", Type::String, "t5: activation, gated or not")
      .example("\"gated-gelu\"");
  t.model_field("dropout_rate", Type::Number, "t5: every dropout").range(0).below(1).example("0.1");
  t.model_field("initializer_factor", Type::Number, "t5: scale of fresh weights")
      .range(0, 100)
      .example("1.0");
  t.model_field("relative_attention_num_buckets", Type::Integer, "t5: distances told apart")
      .range(4, 1 << 20)
      .example("32");
  t.model_field("relative_attention_max_distance", Type::Integer, "t5: beyond it all are one")
      .range(3, 1 << 20)
      .example("128");
  t.model_field("decoder_start_token_id", Type::Integer, "t5: what outputs begin with")
      .range(0, 1e8)
      .example("0");
  t.model_field("pad_token_id", Type::Integer, "t5: padding; by default the tokenizer's")
      .range(0, 1e8)
      .example("0");
  t.model_field("bos_token_id", Type::Integer, "token that begins a text; by default the tokenizer's")
      .range(0, 1e8)
      .example("50256");
  t.model_field("eos_token_id", Type::Integer, "token that ends a text; by default the tokenizer's")
      .range(0, 1e8)
      .example("50256");
}

void add_data(Table& t) {
  t.add("tokenizer.path", &Config::tokenizer, &TokenizerConfig::path, "a tokenizer.json")
      .optional()
      .example("\"tokenizer.json\"");
  t.add("tokenizer.vocab_size", &Config::tokenizer, &TokenizerConfig::vocab_size,
        "or train a byte-level BPE of this size from data.text")
      .optional()
      .range(256, 1e7)
      .example("4096");
  constexpr auto section = &Config::data;
  using D = DataConfig;
  t.add("data.text", section, &D::text, "UTF-8 text files; with labels or targets: .jsonl or .tsv")
      .optional()
      .example("[\"book.txt\"]");
  t.add("data.shards", section, &D::shards, "or a folder written by corten data prepare")
      .optional()
      .example("\"shards\"");
  t.add("data.val_text", section, &D::val_text,
        "files for validation; when empty, val_fraction is held out");
  t.add("data.val_fraction", section, &D::val_fraction, "part of the text held out for validation")
      .range(0)
      .below(1);
  t.add("data.seq", section, &D::seq, "tokens per sequence").range(1, 1e8);
  t.add("data.target_seq", section, &D::target_seq, "of an encoder-decoder: tokens per target")
      .optional()
      .range(1, 1e8)
      .example("64");
}

void add_train(Table& t) {
  constexpr auto section = &Config::train;
  using T = TrainConfig;
  t.add("train.steps", section, &T::steps, "optimizer steps of the whole run").optional().range(
      1, 1e15);
  t.add("train.epochs", section, &T::epochs, "or passes over the training text")
      .optional()
      .range(1e-9, 1e9)
      .example("1.0");
  t.add("train.batch", section, &T::batch, "sequences per optimizer step, over all ranks")
      .range(1, 1e9);
  t.add("train.virtual_shards", section, &T::virtual_shards,
        "micro-batches of batch / virtual_shards sequences; fixes the order of summation")
      .range(1, 1e6);
  t.add("train.dtype", section, &T::dtype, "compute type; master weights are float32")
      .choices({"f32", "bf16", "f16"});
  t.add("train.float8", section, &T::float8,
        "linear layers multiply 8-bit floats, but for the head; fast on GPUs of capability 8.9 and later");
  t.add("train.compile", section, &T::compile, "compile the whole step").free();
  t.add("train.device", section, &T::device, "where to compute; null compiles and plans only")
      .choices({"cpu", "cuda", "null"});
  t.add("train.threads", section, &T::threads, "CPU threads; 0: all").range(0, 1024).free();
  t.add("train.seed", section, &T::seed, "seed of initialisation, data order and dropout").range(0);
  t.add("train.log_every", section, &T::log_every, "steps between lines of metrics.jsonl")
      .range(1)
      .free();
  t.add("train.eval_every", section, &T::eval_every, "steps between evaluations; 0: only at the end")
      .range(0);
  t.add("train.eval_batches", section, &T::eval_batches,
        "batches per evaluation; 0: the whole validation text")
      .range(0);
  t.add("train.save_every", section, &T::save_every, "steps between checkpoints; 0: only at the end")
      .range(0)
      .free();
  t.add("train.keep_last", section, &T::keep_last, "checkpoints kept, besides the best one")
      .range(1)
      .free();
  t.add("train.save_best", section, &T::save_best,
        "also keep the checkpoint with the lowest validation loss")
      .free();
  t.add("train.out", section, &T::out, "run folder; by default runs/ and the config file's name")
      .optional()
      .example("\"runs/demo\"")
      .free();
  t.add("train.memory_budget", section, &T::memory_budget,
        "bytes the step may use (\"2GiB\"); empty: all")
      .free();
}

void add_optim(Table& t) {
  constexpr auto section = &Config::optim;
  using O = OptimConfig;
  t.add("optim.name", section, &O::name, "optimizer").choices({"adamw"});
  t.add("optim.lr", section, &O::lr, "peak learning rate").range(0, 1e6);
  t.add("optim.min_lr", section, &O::min_lr, "final learning rate; by default lr / 10")
      .range(0, 1e6);
  t.add("optim.warmup_steps", section, &O::warmup_steps, "steps of linear warm-up").range(0);
  t.add("optim.schedule", section, &O::schedule, "of the learning rate after warm-up")
      .choices({"constant", "linear", "step", "cosine"});
  t.add("optim.decay_steps", section, &O::decay_steps,
        "step at which min_lr is reached; by default the last one")
      .optional()
      .range(1)
      .example("500");
  t.add("optim.step_size", section, &O::step_size, "schedule = \"step\": steps between decays")
      .optional()
      .range(1)
      .example("100");
  t.add("optim.gamma", section, &O::gamma, "schedule = \"step\": factor of each decay")
      .optional()
      .range(1e-12, 1)
      .example("0.1");
  t.add("optim.betas", section, &O::betas, "decay of the first and second moment")
      .range(0)
      .below(1);
  t.add("optim.eps", section, &O::eps, "added to the root of the second moment").range(0, 1);
  t.add("optim.weight_decay", section, &O::weight_decay, "decoupled decay of matrices")
      .range(0, 1e6);
  t.add("optim.clip_grad_norm", section, &O::clip_grad_norm, "largest gradient norm; 0: no clipping")
      .range(0, 1e30);
}

void add_lora(Table& t) {
  constexpr auto section = &Config::lora;
  using L = LoraSection;
  t.add("lora.r", section, &L::r, "rank of adapters, which alone are trained then; 0: none")
      .range(0, 1e6);
  t.add("lora.alpha", section, &L::alpha, "adapters count alpha / r times").range(0, 1e9);
  t.add("lora.dropout", section, &L::dropout, "dropout before adapters").range(0).below(1);
  t.add("lora.target_modules", section, &L::target_modules,
        "last parts of the names of the layers, or \"all-linear\"; by default as PEFT")
      .optional()
      .example("[\"q_proj\", \"v_proj\"]");
}

std::string_view type_phrase(Type type) {
  switch (type) {
    case Type::Integer: return "an integer";
    case Type::Number: return "a number";
    case Type::Boolean: return "true or false";
    case Type::String: return "a string";
    case Type::StringList: return "a list of strings";
    case Type::NumberPair: return "a list of two numbers";
  }
  return "";
}

bool has_type(const Json& value, Type type) {
  switch (type) {
    case Type::Integer: return value.is_int();
    case Type::Number: return value.is_number();
    case Type::Boolean: return value.is_bool();
    case Type::String: return value.is_string();
    case Type::StringList:
      return value.is_array() && std::all_of(value.elements().begin(), value.elements().end(),
                                             [](const Json& e) { return e.is_string(); });
    case Type::NumberPair:
      return value.is_array() && value.size() == 2 && value.at(size_t{0}).is_number() &&
             value.at(size_t{1}).is_number();
  }
  return false;
}

std::string check_range(const ConfigField& field, const Json& value) {
  const double number = value.as_double();
  if (std::isnan(number) || std::isinf(number))
    return format("must be finite, is {}", number);
  if (number < field.min) return format("must be at least {}, is {}", field.min, value.dump());
  if (field.max_exclusive && number >= field.max)
    return format("must be less than {}, is {}", field.max, value.dump());
  if (number > field.max) return format("must be at most {}, is {}", field.max, value.dump());
  return "";
}

template <typename T>
std::optional<T> whole_number(std::string_view text) {
  T value{};
  if (text.starts_with('+')) text.remove_prefix(1);
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

/// A TOML value: one line, lists with spaces.
std::string to_toml(const Json& value) {
  if (!value.is_array()) return value.dump();
  std::vector<std::string> parts;
  for (const Json& element : value.elements()) parts.push_back(to_toml(element));
  return format("[{}]", fmt::join(parts, ", "));
}

}  // namespace

const std::vector<ConfigField>& config_fields() {
  static const std::vector<ConfigField> fields = [] {
    Table table;
    add_model(table);
    add_data(table);
    add_train(table);
    add_optim(table);
    add_lora(table);
    return std::move(table.fields);
  }();
  return fields;
}

const ConfigField* find_config_field(std::string_view key) {
  for (const ConfigField& field : config_fields())
    if (field.key == key) return &field;
  return nullptr;
}

const std::vector<std::vector<std::string>>& config_exclusive_groups() {
  static const std::vector<std::vector<std::string>> groups = {
      {"model.preset", "model.path", "model.model_type"},
      {"tokenizer.path", "tokenizer.vocab_size"},
      {"data.text", "data.shards"},
      {"train.steps", "train.epochs"}};
  return groups;
}

std::string ConfigField::env_name() const {
  std::string text = "CORTEN_" + key;
  for (char& c : text) c = c == '.' ? '_' : c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
  return text;
}

std::string ConfigField::check(const Json& value) const {
  if (!has_type(value, type)) return format("must be {}, is {}", type_phrase(type), value.dump());
  if (!choices.empty() &&
      std::find(choices.begin(), choices.end(), value.as_string()) == choices.end())
    return format("must be {}{}, is {}{}", choices.size() > 1 ? "one of " : "",
                  fmt::join(choices, ", "), value.dump(), did_you_mean(value.as_string(), choices));
  if (type == Type::Integer || type == Type::Number) return check_range(*this, value);
  if (type == Type::NumberPair)
    for (const Json& element : value.elements())
      if (std::string fault = check_range(*this, element); !fault.empty()) return fault;
  return "";
}

Json ConfigField::from_text(std::string_view text) const {
  const std::string_view trimmed = trim(text);
  switch (type) {
    case Type::Integer:
      if (auto value = whole_number<int64_t>(trimmed)) return *value;
      break;
    case Type::Number:
      if (auto value = whole_number<double>(trimmed)) return *value;
      break;
    case Type::Boolean:
      for (const char* yes : {"true", "1", "yes", "on"})
        if (trimmed == yes) return true;
      for (const char* no : {"false", "0", "no", "off"})
        if (trimmed == no) return false;
      break;
    case Type::String:
      if (!trimmed.starts_with('"')) return text;
      [[fallthrough]];
    case Type::StringList:
    case Type::NumberPair: {
      if (trimmed.starts_with('[') || trimmed.starts_with('"')) {
        try {
          return parse_toml(format("value = {}", trimmed), key).root.at("value");
        } catch (const Error&) {
          usage_error("{}: {} is no TOML value", key, json_quote(trimmed));
        }
      }
      Json list = Json::array();
      for (const std::string& part : split(trimmed, ',')) {
        if (trim(part).empty()) continue;
        auto number = type == Type::NumberPair ? whole_number<double>(trim(part)) : std::nullopt;
        list.push_back(number ? Json(*number) : Json(trim(part)));
      }
      return list;
    }
  }
  return text;
}

std::string config_to_toml(const Config& config, bool comments) {
  std::string out, section;
  for (const ConfigField& field : config_fields()) {
    const Json value = field.get(config);
    if (value.is_null() && !comments) continue;
    if (field.section() != section) {
      section = field.section();
      out += format("{}[{}]\n", out.empty() ? "" : "\n", section);
    }
    const std::string line =
        value.is_null() ? format("# {} = {}", field.name(), field.example)
                        : format("{} = {}", field.name(), to_toml(value));
    if (!comments) {
      out += line + "\n";
      continue;
    }
    const std::string choices =
        field.choices.size() > 1 ? format(": {}", fmt::join(field.choices, " | ")) : "";
    out += format("{:<38} # {}{}\n", line, field.help, choices);
  }
  return out;
}

Json config_to_json(const Config& config) {
  Json out = Json::object();
  for (const ConfigField& field : config_fields())
    if (Json value = field.get(config); !value.is_null())
      out[field.section()][field.name()] = std::move(value);
  return out;
}

Json config_json_schema() {
  Json sections = Json::object();
  const Config defaults;
  for (const ConfigField& field : config_fields()) {
    Json number = Json::object();
    const bool integer = field.type == Type::Integer;
    auto bound = [&](double v) { return integer ? Json(static_cast<int64_t>(v)) : Json(v); };
    number.set("type", integer ? "integer" : "number");
    if (std::isfinite(field.min)) number.set("minimum", bound(field.min));
    if (std::isfinite(field.max) && field.max < kMaxInt)
      number.set(field.max_exclusive ? "exclusiveMaximum" : "maximum", bound(field.max));
    Json rule = Json::object();
    switch (field.type) {
      case Type::Integer:
      case Type::Number: rule = number; break;
      case Type::Boolean: rule.set("type", "boolean"); break;
      case Type::String: rule.set("type", "string"); break;
      case Type::StringList:
        rule.set("type", "array").set("items", Json::object({{"type", "string"}}));
        break;
      case Type::NumberPair:
        rule.set("type", "array").set("items", number).set("minItems", 2).set("maxItems", 2);
        break;
    }
    if (!field.choices.empty()) rule.set("enum", field.choices);
    rule.set("description", field.help);
    if (Json value = field.get(defaults); !value.is_null()) rule.set("default", std::move(value));
    Json& section = sections[field.section()];
    if (section.is_null())
      section = Json::object({{"type", "object"}, {"additionalProperties", false}});
    section["properties"].set(field.name(), std::move(rule));
  }
  // At most one key of each exclusive group.
  for (const auto& group : config_exclusive_groups()) {
    Json& all = sections.at(find_config_field(group[0])->section())["allOf"];
    for (size_t i = 0; i < group.size(); ++i)
      for (size_t j = i + 1; j < group.size(); ++j) {
        Json both = Json::array();
        both.push_back(find_config_field(group[i])->name());
        both.push_back(find_config_field(group[j])->name());
        all.push_back(
            Json::object({{"not", Json::object({{"required", std::move(both)}})}}));
      }
  }
  return Json::object({{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                       {"title", "Corten training configuration"},
                       {"type", "object"},
                       {"additionalProperties", false},
                       {"properties", std::move(sections)}});
}

std::string config_help() {
  std::string out = "Configuration keys (set them in the file, with --set key=value, or as CORTEN_SECTION_KEY):\n";
  const Config defaults;
  for (const ConfigField& field : config_fields()) {
    const Json value = field.get(defaults);
    std::string about = field.help;
    if (!field.choices.empty()) about += format(": {}", fmt::join(field.choices, " | "));
    if (!value.is_null()) about += format(" [{}]", to_toml(value));
    out += format("  {:<40} {}\n", field.key, about);
  }
  return out;
}

std::vector<ConfigDifference> compare_configs(const Config& a, const Config& b, bool all) {
  std::vector<ConfigDifference> differences;
  for (const ConfigField& field : config_fields()) {
    if (!field.changes_result && !all) continue;
    Json left = field.get(a), right = field.get(b);
    if (left != right) differences.push_back({field.key, std::move(left), std::move(right)});
  }
  return differences;
}

}  // namespace corten
