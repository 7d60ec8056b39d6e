// corten tokenizer train|encode|decode|info
#include <iostream>
#include <iterator>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"
#include "cli/output.h"
#include "cli/tokenizer_args.h"
#include "cli/verbs.h"
#include "corten/data.h"
#include "corten/tokenizer.h"
#include "train/run_data.h"

namespace corten::cli {

std::string tokenizer_path(const std::string& path) {
  const std::string file = folder_exists(path) ? join_path(path, "tokenizer.json") : path;
  if (!has_file(file)) usage_error("{}", describe_absent(file));
  return file;
}

namespace {

constexpr uint64_t kMaxInput = uint64_t{1} << 34;  // bytes of a text read at once

Json or_null(std::optional<int32_t> id) { return id ? Json(*id) : Json(); }

int run_tokenizer_train(const Args& args) {
  CommonFlags common;
  std::vector<std::string> files, special;
  std::string out = "tokenizer.json";
  int64_t vocab_size = 8192, min_frequency = 2;
  ArgParser parser("tokenizer train", "Trains a byte-level BPE tokenizer on text files.");
  parser.positional("TEXT", files, "UTF-8 text files");
  parser.option("-o,--out", out, "file to write");
  parser.option("--vocab-size", vocab_size, "tokens, with the 256 bytes and the special ones",
                {256, 1e7});
  parser.option("--min-frequency", min_frequency, "rarer pairs are not merged", {1, 1e15});
  parser.option("--special-token", special,
                "a special token; may be repeated; by default <|endoftext|>");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  std::vector<std::string> texts;
  uint64_t bytes = 0;
  for (const std::string& file : files) {
    texts.push_back(read_text_file(file));
    bytes += texts.back().size();
  }
  Tokenizer::TrainOptions options;
  options.vocab_size = static_cast<size_t>(vocab_size);
  options.min_frequency = static_cast<uint64_t>(min_frequency);
  options.threads = static_cast<int>(common.threads.value_or(0));
  if (!special.empty()) options.special_tokens = special;
  const std::vector<std::string_view> views(texts.begin(), texts.end());
  const Tokenizer tokenizer = Tokenizer::train(views, options);
  tokenizer.save(out);
  if (common.json)
    print_json(Json::object({{"path", out},
                             {"vocab_size", tokenizer.vocab_size()},
                             {"text_bytes", bytes},
                             {"hash", tokenizer_hash(tokenizer)}}));
  else
    print_text(format("{}: {} tokens from {} of text\n", out, tokenizer.vocab_size(),
                      format_bytes(bytes)));
  return kOk;
}

int run_encode(const Args& args) {
  CommonFlags common;
  std::string path;
  std::optional<std::string> text, file;
  bool no_special = false, no_truncation = false, no_padding = false;
  EncodeOptions options;
  ArgParser parser("tokenizer encode",
                   "Turns text into token ids, cut and filled up as the file says.");
  parser.positional("FILE", path, "a tokenizer.json, or a folder with one");
  parser.option("--text", text, "the text");
  parser.option("--file", file, "read it from a file; - is stdin");
  parser.flag("--no-special", no_special, "no special tokens around the text");
  parser.flag("--split-special-tokens", options.split_special_tokens,
              "text that looks like a special token stays text");
  parser.flag("--no-truncation", no_truncation, "the whole text, whatever the file says");
  parser.flag("--no-padding", no_padding, "no padding, whatever the file says");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (text.has_value() == file.has_value())
    usage_error("corten tokenizer encode: give one of --text and --file");
  if (file == "-")
    text.emplace(std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>());
  else if (file)
    text = read_file(*file, kMaxInput);
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path(path));
  options.add_special_tokens = !no_special;
  if (!no_truncation) options.truncation = tokenizer.truncation();
  if (!no_padding) options.padding = tokenizer.padding();
  if (!common.json) {
    // The ids alone are several times as fast.
    const bool plain = !options.split_special_tokens && !options.truncation && !options.padding;
    print_text(format("{}\n", fmt::join(plain ? tokenizer.encode_ids(*text, !no_special)
                                              : tokenizer.encode({*text, {}}, options).ids,
                                        " ")));
    return kOk;
  }
  const Encoding encoding = tokenizer.encode({*text, {}}, options);
  Json offsets = Json::array();
  for (const auto& [begin, end] : encoding.offsets)
    offsets.push_back(std::vector<size_t>{begin, end});
  print_json(Json::object({{"ids", encoding.ids},
                           {"tokens", encoding.tokens},
                           {"offsets", std::move(offsets)}}));
  return kOk;
}

int run_decode(const Args& args) {
  CommonFlags common;
  std::string path;
  std::vector<int64_t> ids;
  bool keep_special = false;
  ArgParser parser("tokenizer decode", "Turns token ids into text.");
  parser.positional("FILE", path, "a tokenizer.json, or a folder with one");
  parser.option("--ids", ids, "token ids; may be repeated", {0, 2147483647});
  parser.flag("--keep-special", keep_special, "show special tokens");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (ids.empty()) usage_error("corten tokenizer decode: --ids is missing");
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path(path));
  const std::vector<int32_t> narrow(ids.begin(), ids.end());
  const std::string text = tokenizer.decode(narrow, !keep_special);
  if (common.json)
    print_json(Json::object({{"text", text}}));
  else
    print_text(text + "\n");
  return kOk;
}

int run_info(const Args& args) {
  CommonFlags common;
  std::string path;
  ArgParser parser("tokenizer info", "Describes a tokenizer.");
  parser.positional("FILE", path, "a tokenizer.json, or a folder with one");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  const Tokenizer tokenizer = Tokenizer::from_file(tokenizer_path(path));
  const Json info = Json::object({{"vocab_size", tokenizer.vocab_size()},
                                  {"bos_id", or_null(tokenizer.bos_id())},
                                  {"eos_id", or_null(tokenizer.eos_id())},
                                  {"hash", tokenizer_hash(tokenizer)}});
  if (common.json) {
    print_json(info);
    return kOk;
  }
  for (const auto& [name, value] : info.items()) {
    std::string shown = value.is_string() ? value.as_string() : value.dump();
    if (name.ends_with("_id") && value.is_int())
      shown += " " + tokenizer.id_to_token(static_cast<int32_t>(value.as_int())).value_or("");
    print_text(format("{:<12} {}\n", name, shown));
  }
  return kOk;
}

}  // namespace

int run_tokenizer(const Args& args) {
  static const std::vector<Verb> kSubVerbs = {
      {"train", "train a byte-level BPE tokenizer", run_tokenizer_train},
      {"encode", "text to token ids", run_encode},
      {"decode", "token ids to text", run_decode},
      {"info", "describe a tokenizer", run_info},
  };
  return run_sub_verb("tokenizer", "Tokenizers (tokenizer.json files).", kSubVerbs, args);
}

}  // namespace corten::cli
