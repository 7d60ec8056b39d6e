// corten data prepare
#include "base/file.h"
#include "base/format.h"
#include "base/strings.h"
#include "base/thread_pool.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/tokenizer_args.h"
#include "cli/verbs.h"
#include "corten/data.h"
#include "corten/models.h"
#include "train/run_data.h"

namespace corten::cli {
namespace {

int run_prepare(const Args& args) {
  CommonFlags common;
  std::vector<std::string> text;
  std::string out, tokenizer_file;
  int64_t vocab_size = 4096;
  std::optional<int64_t> shard_tokens;
  PrepareOptions options;
  ArgParser parser("data prepare",
                   "Tokenises text files to a folder of shards; the same arguments give the same "
                   "bytes.");
  parser.positional("TEXT", text, "UTF-8 text files, one document each");
  parser.option("-o,--out", out, "folder to write");
  parser.option("--tokenizer", tokenizer_file, "a tokenizer.json; else one is trained on the texts");
  parser.option("--vocab-size", vocab_size, "of a tokenizer trained on the texts", {256, 1e7});
  parser.option("--document-separator", options.document_separator,
                "a line that ends a document; empty: files only");
  parser.option("--shard-tokens", shard_tokens, "a shard ends at the document that reaches this",
                {1, 1e15});
  parser.flag("--overwrite", options.overwrite, "replace the data set in the folder");
  common.add_to(parser);
  if (!parser.parse(args)) {
    print_text(parser.help());
    return kOk;
  }
  if (out.empty()) usage_error("corten data prepare: --out is missing");
  default_thread_pool().set_num_threads(static_cast<int>(common.threads.value_or(0)));

  Config config;
  config.data.text = text;
  config.train.threads = common.threads.value_or(0);
  config.tokenizer.path = tokenizer_file.empty() ? "" : tokenizer_path(tokenizer_file);
  config.tokenizer.vocab_size = tokenizer_file.empty() ? vocab_size : 0;
  Progress progress;
  RunDataCallbacks callbacks;
  callbacks.message = [&](const std::string& line) { progress.message(line); };
  const TokenizerInfo tokenizer = make_tokenizer(config, "", callbacks);

  options.vocab_size = static_cast<uint64_t>(tokenizer.vocab_size);
  options.separator_token = tokenizer.end_of_text;
  options.tokenizer_hash = tokenizer.hash;
  if (shard_tokens) options.shard_tokens = static_cast<uint64_t>(*shard_tokens);
  options.progress = [&](uint64_t done, uint64_t total) {
    progress.task("tokenising", done, total,
                  format("{} of {}", format_bytes(done), format_bytes(total)));
  };
  const PrepareResult result =
      prepare_tokens(text, document_encoder(*tokenizer.tokenizer), out, options);
  progress.finish();
  // `train` finds the tokenizer beside the shards.
  const std::string saved = join_path(out, "tokenizer.json");
  tokenizer.tokenizer->save(saved);
  if (common.json)
    print_json(Json::object({{"out", out},
                             {"tokens", result.tokens},
                             {"documents", result.documents},
                             {"text_bytes", result.text_bytes},
                             {"shards", result.shards},
                             {"fingerprint", result.fingerprint},
                             {"tokenizer", saved},
                             {"vocab_size", tokenizer.vocab_size}}));
  else
    print_text(format("{}: {} tokens of {} documents ({}), {} shards, fingerprint {}\n", out,
                      result.tokens, result.documents, format_bytes(result.text_bytes),
                      result.shards.size(), result.fingerprint));
  return kOk;
}

}  // namespace

int run_data(const Args& args) {
  static const std::vector<Verb> kSubVerbs = {
      {"prepare", "tokenise text files to shards", run_prepare},
  };
  return run_sub_verb("data", "Training data.", kSubVerbs, args);
}

}  // namespace corten::cli
