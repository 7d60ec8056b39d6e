#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/format.h"
#include "corten/data.h"
#include "data/permutation.h"
#include "data/token_shard.h"

namespace corten {

// ---- TokenShards

struct TokenShards::State {
  struct Part {
    std::unique_ptr<ShardFile> file;  // or:
    std::vector<uint32_t> memory;
    std::vector<uint64_t> memory_starts;
    const std::byte* data = nullptr;
    uint32_t token_bytes = 4, max_token = 0;
    uint64_t tokens = 0, first_token = 0, first_document = 0;
    std::span<const uint64_t> starts;
    // First document (within the part) of every source, and its path.
    std::vector<std::pair<uint64_t, std::string>> sources;
  };
  std::vector<Part> parts;
  uint64_t tokens = 0, documents = 0;
  uint32_t max_token = 0;
  std::string tokenizer_hash, fingerprint;

  void add(Part part) {
    part.first_token = tokens;
    part.first_document = documents;
    tokens += part.tokens;
    documents += part.starts.size();
    max_token = std::max(max_token, part.max_token);
    parts.push_back(std::move(part));
  }

  const Part& part_of(uint64_t offset) const {
    const auto after =
        std::upper_bound(parts.begin(), parts.end(), offset,
                         [](uint64_t value, const Part& part) { return value < part.first_token; });
    return *(after - 1);
  }
};

namespace {

// Sources of a shard's documents. The counts must add up to the documents of the shard.
std::vector<std::pair<uint64_t, std::string>> read_sources(const ShardFile& file) {
  const std::string label = file.path() + " (provenance)";
  std::vector<std::pair<uint64_t, std::string>> sources;
  const Json* list = file.provenance().find("sources");
  if (list == nullptr) usage_error("{}: no \"sources\"", label);
  uint64_t documents = 0;
  const uint64_t limit = file.document_starts().size();
  for (const Json& source : list->elements(label + " sources")) {
    const Json* path = source.find("path");
    const Json* count = source.find("documents");
    if (path == nullptr || count == nullptr)
      usage_error("{}: a source without \"path\" or \"documents\"", label);
    sources.emplace_back(documents, path->as_string(label + " path"));
    const uint64_t more = count->as_uint(label + " documents");
    if (more > limit - documents)
      usage_error("{}: the sources have more than the {} documents of the shard", label, limit);
    documents += more;
  }
  if (documents != limit)
    usage_error("{}: the sources have {} documents, the shard {}", label, documents, limit);
  return sources;
}

}  // namespace

TokenShards TokenShards::open(const std::string& folder) {
  if (file_exists(folder)) return open(std::vector<std::string>{folder});
  if (!folder_exists(folder)) usage_error("{}: no such folder of token shards", folder);
  const std::string path = join_path(folder, "dataset.json");
  if (!file_exists(path))
    usage_error("{}: no dataset.json: not a folder written by \"corten data prepare\"", folder);
  const Json manifest = Json::parse(read_file(path), path, {.refuse_duplicate_keys = true});
  const Json* format_name = manifest.find("format");
  if (format_name == nullptr || *format_name != Json("corten-tokens"))
    usage_error("{}: not the manifest of a token data set", path);
  const Json* version = manifest.find("version");
  if (version == nullptr || *version != Json(1))
    usage_error("{}: version {} of the format; this program reads version 1", path,
                version == nullptr ? "?" : version->dump());
  const Json* shards = manifest.find("shards");
  if (shards == nullptr) usage_error("{}: no \"shards\"", path);
  std::vector<std::string> files;
  for (const Json& shard : shards->elements(path + ": shards")) {
    const Json* file = shard.find("file");
    if (file == nullptr) usage_error("{}: a shard without \"file\"", path);
    const std::string& name = file->as_string(path + ": file");
    if (name.empty() || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos)
      usage_error("{}: {} is no plain file name", path, json_quote(name));
    files.push_back(join_path(folder, name));
  }
  TokenShards result = open(files);
  for (size_t i = 0; i < files.size(); ++i) {
    const Json* hash = shards->at(i).find("xxh3");
    const std::string found = hex(result.state_->parts[i].file->hash());
    if (hash == nullptr || *hash != Json(found))
      usage_error("{}: its hash is {}, {} says {}", files[i], found, path,
                  hash == nullptr ? "nothing" : hash->dump());
  }
  return result;
}

TokenShards TokenShards::open(const std::vector<std::string>& shard_files) {
  if (shard_files.empty()) usage_error("no token shards");
  auto state = std::make_shared<State>();
  Hasher fingerprint;
  for (const std::string& path : shard_files) {
    State::Part part;
    part.file = std::make_unique<ShardFile>(path);
    const ShardFile& file = *part.file;
    const Json* tokenizer = file.provenance().find("tokenizer");
    if (tokenizer == nullptr) usage_error("{} (provenance): no \"tokenizer\"", path);
    const std::string& hash = tokenizer->as_string(path + " (provenance) tokenizer");
    if (state->parts.empty()) state->tokenizer_hash = hash;
    if (hash != state->tokenizer_hash)
      usage_error("{}: made with tokenizer {}, but {} with {}", path, json_quote(hash),
                  shard_files[0], json_quote(state->tokenizer_hash));
    part.data = file.token_data();
    part.token_bytes = file.token_bytes();
    part.max_token = file.max_token();
    part.tokens = file.tokens();
    part.starts = file.document_starts();
    part.sources = read_sources(file);
    fingerprint.update(hex(file.hash()));
    state->add(std::move(part));
  }
  state->fingerprint = hex(fingerprint.digest128());
  return TokenShards(std::move(state));
}

TokenShards TokenShards::from_memory(std::vector<uint32_t> tokens,
                                     std::vector<uint64_t> document_starts) {
  if (tokens.empty() || document_starts.empty() || document_starts[0] != 0)
    usage_error("{} tokens with {} documents, the first of which must start at token 0",
                tokens.size(), document_starts.size());
  for (size_t i = 1; i < document_starts.size(); ++i)
    if (document_starts[i] <= document_starts[i - 1] || document_starts[i] >= tokens.size())
      usage_error("document {} starts at token {}, after {} of {}", i, document_starts[i],
                  document_starts[i - 1], tokens.size());
  auto state = std::make_shared<State>();
  State::Part part;
  part.memory = std::move(tokens);
  part.memory_starts = std::move(document_starts);
  part.max_token = *std::max_element(part.memory.begin(), part.memory.end());
  if (part.max_token > std::numeric_limits<int32_t>::max())
    usage_error("token {} is above 2^31 - 1", part.max_token);
  part.data = reinterpret_cast<const std::byte*>(part.memory.data());
  part.tokens = part.memory.size();
  part.starts = part.memory_starts;
  part.sources.emplace_back(0, "");
  state->fingerprint = hex(Hasher()
                               .update(std::as_bytes(std::span(part.memory)))
                               .update(std::as_bytes(std::span(part.memory_starts)))
                               .digest128());
  state->add(std::move(part));
  return TokenShards(std::move(state));
}

uint64_t TokenShards::tokens() const noexcept {
  return state_->tokens;
}
uint64_t TokenShards::documents() const noexcept {
  return state_->documents;
}
uint32_t TokenShards::max_token() const noexcept {
  return state_->max_token;
}
const std::string& TokenShards::tokenizer_hash() const noexcept {
  return state_->tokenizer_hash;
}
const std::string& TokenShards::fingerprint() const noexcept {
  return state_->fingerprint;
}

void TokenShards::verify() const {
  for (const State::Part& part : state_->parts)
    if (part.file) part.file->verify();
}

template <typename T>
void TokenShards::copy_as(uint64_t offset, std::span<T> out) const {
  if (offset > state_->tokens || out.size() > state_->tokens - offset)
    usage_error("tokens [{}, {}) of a stream of {} tokens", offset, offset + out.size(),
                state_->tokens);
  size_t done = 0;
  while (done < out.size()) {
    const State::Part& part = state_->part_of(offset + done);
    const uint64_t begin = offset + done - part.first_token;
    const size_t count = std::min<uint64_t>(out.size() - done, part.tokens - begin);
    uint32_t largest = 0;
    const auto take = [&](const auto* tokens) {
      for (size_t i = 0; i < count; ++i) {
        const uint32_t token = tokens[begin + i];
        largest = std::max(largest, token);
        out[done + i] = static_cast<T>(token);
      }
    };
    if (part.token_bytes == 2)
      take(reinterpret_cast<const uint16_t*>(part.data));
    else
      take(reinterpret_cast<const uint32_t*>(part.data));
    if (largest > part.max_token)
      usage_error("{}: damaged: token {} among tokens [{}, {}), above the largest one, {}",
                  part.file ? part.file->path() : "memory", largest, begin, begin + count,
                  part.max_token);
    done += count;
  }
}
void TokenShards::copy(uint64_t offset, std::span<int32_t> out) const {
  copy_as(offset, out);
}
void TokenShards::copy(uint64_t offset, std::span<int64_t> out) const {
  copy_as(offset, out);
}

TokenShards::Place TokenShards::place(uint64_t offset) const {
  if (offset >= state_->tokens)
    usage_error("token {} of a stream of {} tokens", offset, state_->tokens);
  const State::Part& part = state_->part_of(offset);
  const uint64_t token = offset - part.first_token;
  const auto next = std::upper_bound(part.starts.begin(), part.starts.end(), token);
  const auto document = static_cast<uint64_t>(next - part.starts.begin()) - 1;
  const auto source =
      std::upper_bound(part.sources.begin(), part.sources.end(), document,
                       [](uint64_t value, const auto& entry) { return value < entry.first; });
  Place place;
  if (part.file) place.shard = part.file->path();
  place.source = (source - 1)->second;
  place.document = part.first_document + document;
  place.token_offset = token - part.starts[document];
  place.document_tokens = (next == part.starts.end() ? part.tokens : *next) - part.starts[document];
  return place;
}

// ---- TokenDataset

TokenDataset::TokenDataset(TokenShards shards, const DatasetOptions& options)
    : shards_(std::move(shards)), options_(options) {
  if (options.seq < 1) usage_error("seq is {}; expected at least 1", options.seq);
  if (!(options.val_fraction >= 0 && options.val_fraction < 1))
    usage_error("val_fraction is {}; expected 0 <= val_fraction < 1", options.val_fraction);
  const auto seq = static_cast<uint64_t>(options.seq);
  const uint64_t total = (shards_.tokens() - 1) / seq;
  if (total == 0)
    usage_error("the data holds {} tokens; one sequence of seq = {} needs {}", shards_.tokens(),
                seq, seq + 1);
  uint64_t held_out = 0;
  if (options.val_fraction > 0 && total > 1) {
    held_out =
        static_cast<uint64_t>(std::llround(options.val_fraction * static_cast<double>(total)));
    held_out = std::clamp<uint64_t>(held_out, 1, total - 1);
  }
  if (options.split == Split::train) {
    window_count_ = total - held_out;
  } else {
    first_window_ = total - held_out;
    window_count_ = held_out;
  }
  if (window_count_ == 0)
    usage_error("no validation data: val_fraction = {} of {} sequences of {} tokens",
                options.val_fraction, total, seq);
}

uint64_t TokenDataset::window_of_sample(uint64_t sample) const noexcept {
  const uint64_t index = sample % window_count_, epoch = sample / window_count_;
  if (!options_.shuffle) return first_window_ + index;
  return first_window_ + Permutation(window_count_, options_.seed, epoch)(index);
}

uint64_t TokenDataset::first_sample(uint64_t step, int64_t batch_size) const {
  uint64_t sample = 0;
  if (batch_size < 1) usage_error("a batch of {} sequences", batch_size);
  if (__builtin_mul_overflow(step, static_cast<uint64_t>(batch_size), &sample) ||
      sample > std::numeric_limits<uint64_t>::max() - static_cast<uint64_t>(batch_size))
    usage_error("step {} of batches of {} sequences is out of range", step, batch_size);
  return sample;
}

template <typename T>
void TokenDataset::fill_as(uint64_t step, int64_t batch_size, int64_t first_row, int64_t last_row,
                           std::span<T> inputs, std::span<T> targets) const {
  const uint64_t first = first_sample(step, batch_size);
  if (first_row < 0 || last_row < first_row || last_row > batch_size)
    usage_error("rows [{}, {}) of a batch of {}", first_row, last_row, batch_size);
  const auto seq = static_cast<size_t>(options_.seq);
  const auto rows = static_cast<size_t>(last_row - first_row);
  if (inputs.size() != rows * seq || targets.size() != rows * seq)
    usage_error("room for {} inputs and {} targets; {} rows of {} need {}", inputs.size(),
                targets.size(), rows, seq, rows * seq);
  for (size_t row = 0; row < rows; ++row) {
    const uint64_t window = window_of_sample(first + static_cast<uint64_t>(first_row) + row);
    const auto in = inputs.subspan(row * seq, seq), out = targets.subspan(row * seq, seq);
    shards_.copy(window * seq + 1, out);
    shards_.copy(window * seq, in.first(1));
    std::copy(out.begin(), out.end() - 1, in.begin() + 1);
  }
}

void TokenDataset::fill(uint64_t step, int64_t batch_size, int64_t first_row, int64_t last_row,
                        std::span<int32_t> inputs, std::span<int32_t> targets) const {
  fill_as(step, batch_size, first_row, last_row, inputs, targets);
}
void TokenDataset::fill(uint64_t step, int64_t batch_size, int64_t first_row, int64_t last_row,
                        std::span<int64_t> inputs, std::span<int64_t> targets) const {
  fill_as(step, batch_size, first_row, last_row, inputs, targets);
}

Batch TokenDataset::batch(uint64_t step, int64_t batch_size) const {
  return batch(step, batch_size, 0, batch_size);
}
Batch TokenDataset::batch(uint64_t step, int64_t batch_size, int64_t first_row,
                          int64_t last_row) const {
  if (first_row < 0 || last_row < first_row || last_row > batch_size)
    usage_error("rows [{}, {}) of a batch of {}", first_row, last_row, batch_size);
  Batch batch{last_row - first_row, options_.seq, {}, {}};
  batch.inputs.resize(static_cast<size_t>(batch.rows * batch.seq));
  batch.targets.resize(batch.inputs.size());
  fill(step, batch_size, first_row, last_row, std::span(batch.inputs), std::span(batch.targets));
  return batch;
}

TokenDataset::Trace TokenDataset::trace(uint64_t step, int64_t batch_size, int64_t row) const {
  if (row < 0 || row >= batch_size) usage_error("row {} of a batch of {}", row, batch_size);
  Trace trace;
  trace.sample = first_sample(step, batch_size) + static_cast<uint64_t>(row);
  trace.epoch = trace.sample / window_count_;
  trace.window = window_of_sample(trace.sample);
  trace.stream_offset = trace.window * static_cast<uint64_t>(options_.seq);
  uint64_t left = static_cast<uint64_t>(options_.seq) + 1, offset = trace.stream_offset;
  while (left > 0) {
    TokenShards::Place place = shards_.place(offset);
    Piece piece{std::move(place.shard), std::move(place.source), place.document, place.token_offset,
                std::min(left, place.document_tokens - place.token_offset)};
    left -= piece.tokens;
    offset += piece.tokens;
    trace.pieces.push_back(std::move(piece));
  }
  return trace;
}

}  // namespace corten
