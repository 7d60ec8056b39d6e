#include "data/token_shard.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/format.h"

namespace corten {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr char kMagic[8] = {'C', 'O', 'R', 'T', 'E', 'N', 'T', 'K'};
constexpr uint32_t kVersion = 1;
constexpr size_t kHashedHeader = 48;

std::span<const std::byte> hashed_part(const ShardHeader& header) noexcept {
  return std::as_bytes(std::span(&header, 1)).first(kHashedHeader);
}

}  // namespace

ShardWriter::ShardWriter(const std::string& path, uint32_t token_bytes) : file_(path) {
  CORTEN_CHECK(token_bytes == 2 || token_bytes == 4);
  std::copy(std::begin(kMagic), std::end(kMagic), header_.magic);
  header_.version = kVersion;
  header_.token_bytes = token_bytes;
  file_.write(std::as_bytes(std::span(&header_, 1)));  // completed by finish()
}

void ShardWriter::append(std::span<const std::byte> bytes) {
  file_.write(bytes);
  hasher_.update(bytes);
}

void ShardWriter::add_document(std::span<const uint32_t> tokens) {
  CORTEN_CHECK(!tokens.empty());
  starts_.push_back(header_.tokens);
  header_.tokens += tokens.size();
  const uint32_t largest = *std::max_element(tokens.begin(), tokens.end());
  header_.max_token = std::max(header_.max_token, largest);
  if (header_.token_bytes == 4) {
    append(std::as_bytes(tokens));
    return;
  }
  CORTEN_CHECK(largest <= std::numeric_limits<uint16_t>::max());
  narrow_.assign(tokens.begin(), tokens.end());
  append(std::as_bytes(std::span(narrow_)));
}

Hash128 ShardWriter::finish(const Json& provenance) {
  const std::byte zeros[8] = {};
  append(std::span(zeros).first((8 - file_.size() % 8) % 8));
  append(std::as_bytes(std::span(starts_)));
  const std::string json = provenance.dump();
  append(std::as_bytes(std::span(json)));
  header_.documents = starts_.size();
  header_.json_bytes = json.size();
  const Hash128 hash = hasher_.update(hashed_part(header_)).digest128();
  header_.hash_low = hash.low;
  header_.hash_high = hash.high;
  file_.write_at(0, std::as_bytes(std::span(&header_, 1)));
  file_.commit();
  return hash;
}

ShardFile::ShardFile(const std::string& path) : file_(path) {
  const auto bytes = file_.bytes();
  if (bytes.size() < sizeof(ShardHeader))
    usage_error("{}: {} bytes are too few for a token shard (header: {} bytes)", path, bytes.size(),
                sizeof(ShardHeader));
  std::memcpy(&header_, bytes.data(), sizeof(ShardHeader));
  if (std::memcmp(header_.magic, kMagic, sizeof(kMagic)) != 0)
    usage_error("{}: not a token shard (it does not begin with \"CORTENTK\")", path);
  if (header_.version != kVersion)
    usage_error("{}: version {} of the format; this program reads version {}", path,
                header_.version, kVersion);
  if (header_.token_bytes != 2 && header_.token_bytes != 4)
    usage_error("{}: {} bytes per token; expected 2 or 4", path, header_.token_bytes);
  if (header_.zero != 0) usage_error("{}: byte 44 of the header is not zero", path);
  if (header_.tokens == 0 || header_.documents == 0 || header_.documents > header_.tokens)
    usage_error("{}: {} documents with {} tokens", path, header_.documents, header_.tokens);
  const uint64_t largest = header_.token_bytes == 2 ? std::numeric_limits<uint16_t>::max()
                                                    : std::numeric_limits<int32_t>::max();
  if (header_.max_token > largest)
    usage_error("{}: largest token {} does not fit {} bytes", path, header_.max_token,
                header_.token_bytes);
  // Each term is compared with the size of the file first, so that the sum cannot overflow.
  const uint64_t size = bytes.size();
  uint64_t expected = 0;
  if (header_.tokens <= size && header_.documents <= size && header_.json_bytes <= size)
    expected = sizeof(ShardHeader) + (header_.tokens * header_.token_bytes + 7) / 8 * 8 +
               header_.documents * 8 + header_.json_bytes;
  if (expected != size)
    usage_error(
        "{}: truncated or damaged: {} bytes, but {} tokens of {} bytes, {} documents and {} bytes "
        "of "
        "JSON are announced",
        path, size, header_.tokens, header_.token_bytes, header_.documents, header_.json_bytes);
  const std::byte* table =
      token_data() + (header_.tokens * header_.token_bytes + 7) / 8 * 8;  // aligned: 64 + 8n
  starts_ = {reinterpret_cast<const uint64_t*>(table), header_.documents};
  if (starts_[0] != 0) usage_error("{}: the first document starts at token {}", path, starts_[0]);
  for (size_t i = 1; i < starts_.size(); ++i)
    if (starts_[i] <= starts_[i - 1] || starts_[i] >= header_.tokens)
      usage_error("{}: document {} starts at token {}, after {} of {}", path, i, starts_[i],
                  starts_[i - 1], header_.tokens);
  const std::string_view json = file_.text().substr(size - header_.json_bytes);
  provenance_ = Json::parse(json, path + " (provenance)", {.refuse_duplicate_keys = true});
  if (!provenance_.is_object()) usage_error("{}: the provenance is no JSON object", path);
}

void ShardFile::verify() const {
  const Hash128 found = Hasher()
                            .update(file_.bytes().subspan(sizeof(ShardHeader)))
                            .update(hashed_part(header_))
                            .digest128();
  if (found != hash())
    usage_error("{}: damaged: its hash is {}, it should be {}", path(), hex(found), hex(hash()));
}

}  // namespace corten
