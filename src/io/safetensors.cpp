#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <new>
#include <set>
#include <unordered_map>

#include "base/absent.h"
#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "base/strings.h"

namespace corten {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation
constexpr uint64_t kMaxIndexBytes = 100'000'000;
constexpr std::string_view kMetadataKey = "__metadata__";

struct TypeInfo {
  std::string_view name;
  int bits;
};
// In the order in which the library lays out files.
constexpr std::array<TypeInfo, 22> kTypes = {
    {{"U64", 64},    {"I64", 64},        {"F64", 64},        {"C64", 64},    {"F32", 32},
     {"U32", 32},    {"I32", 32},        {"BF16", 16},       {"F16", 16},    {"U16", 16},
     {"I16", 16},    {"F8_E5M2FNUZ", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E8M0", 8}, {"F8_E4M3", 8},
     {"F8_E5M2", 8}, {"I8", 8},          {"U8", 8},          {"F6_E3M2", 6}, {"F6_E2M3", 6},
     {"F4", 4},      {"BOOL", 8}}};

size_t type_rank(std::string_view name) noexcept {
  for (size_t i = 0; i < kTypes.size(); ++i)
    if (kTypes[i].name == name) return i;
  return kTypes.size();
}

std::string printed_dims(const std::vector<int64_t>& dims) {
  return format("{}", dims);
}

// Names come from files: quoted, and cut where they are printed.
std::string printed_name(std::string_view name) {
  std::string text = json_quote(name);
  if (text.size() > 120) text = text.substr(0, 117) + "...";
  return text;
}

struct Entry {
  uint64_t begin = 0, end = 0;
  StoredTensor tensor;
};

Entry parse_entry(const std::string& name, const Json& info, std::string_view source) {
  const std::string label = format("{}: tensor {}", source, printed_name(name));
  if (!info.is_object()) usage_error("{}: expected an object, found {}", label, info.type_name());
  const auto field = [&](const char* key) -> const Json& {
    const Json* value = info.find(key);
    if (value == nullptr) usage_error("{} has no \"{}\"", label, key);
    return *value;
  };
  Entry entry;
  entry.tensor.name = name;
  entry.tensor.dtype = field("dtype").as_string(label + " dtype");
  const Json& shape = field("shape");
  for (const Json& dim : shape.elements(label + " shape")) {
    // as_int refuses fractions, exponents and what is above 2^63.
    const int64_t value = dim.as_int(label + " shape");
    if (value < 0) usage_error("{}: dimension {} is negative", label, value);
    entry.tensor.dims.push_back(value);
  }
  const auto& offsets = field("data_offsets").elements(label + " data_offsets");
  if (offsets.size() != 2)
    usage_error("{}: data_offsets has {} numbers, not 2", label, offsets.size());
  entry.begin = offsets[0].as_uint(label + " data_offsets");
  entry.end = offsets[1].as_uint(label + " data_offsets");
  if (entry.begin > entry.end)
    usage_error("{}: data_offsets [{}, {}] run backwards", label, entry.begin, entry.end);
  uint64_t bytes = 0;
  try {
    bytes = safetensors_bytes(entry.tensor.dtype, entry.tensor.dims);
  } catch (const Error& error) {
    usage_error("{}: {}", label, error.what());
  }
  if (bytes != entry.end - entry.begin)
    usage_error("{}: {}{} takes {} bytes but data_offsets [{}, {}] span {}", label,
                entry.tensor.dtype, printed_dims(entry.tensor.dims), bytes, entry.begin, entry.end,
                entry.end - entry.begin);
  return entry;
}

constexpr std::string_view kPickled =
    "pickled weights, which can run any code when they are read: save the model again with "
    "transformers, which writes model.safetensors";

/// torch.save() writes a zip archive with a pickle in it, or, in its older form, the pickle alone.
bool is_pickle(std::span<const std::byte> file) {
  const auto byte = [&](size_t i) { return std::to_integer<int>(file[i]); };
  return (byte(0) == 'P' && byte(1) == 'K' && byte(2) == 3 && byte(3) == 4) ||
         (byte(0) == 0x80 && byte(1) >= 2 && byte(1) <= 5);
}

/// Whether a file is named as torch.save() names weights; others of a training run are not weights.
bool is_pickle_name(std::string_view name) {
  for (std::string_view other : {"training_args", "optimizer", "scheduler", "scaler", "rng_state"})
    if (name.starts_with(other)) return false;
  for (std::string_view end : {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".bin.index.json"})
    if (name.ends_with(end)) return true;
  return false;
}

SafetensorsContent parse_checked(std::span<const std::byte> file, std::string_view source) {
  if (file.size() < 8)
    usage_error("{}: {} bytes are too few for a safetensors file (header length: 8 bytes)", source,
                file.size());
  uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  if (length > file.size() - 8 && is_pickle(file))
    usage_error("{}: these are not safetensors but {}", source, kPickled);
  if (length > kMaxHeader)
    usage_error("{}: header length {} is above the limit of {} bytes: not a safetensors file?",
                source, length, kMaxHeader);
  if (length > file.size() - 8)
    usage_error("{}: header length {} is beyond the end of the file ({} bytes)", source, length,
                file.size());
  const std::string_view header(reinterpret_cast<const char*>(file.data()) + 8, length);
  // The reference allows JSON white space in front (padding to a page), but no byte order mark.
  const size_t start = header.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos || header[start] != '{')
    usage_error("{}: the header is no JSON object", source);
  const Json json = Json::parse(header, format("{} (header)", source),
                                {.max_depth = 4, .refuse_duplicate_keys = true});

  SafetensorsContent content;
  std::vector<Entry> entries;
  for (const auto& [name, value] : json.items()) {
    if (name == kMetadataKey) {
      const std::string label = format("{}: {}", source, kMetadataKey);
      for (const auto& [key, text] : value.items(label))
        content.metadata.emplace_back(
            key, text.as_string(format("{}, key {}", label, printed_name(key))));
      continue;
    }
    entries.push_back(parse_entry(name, value, source));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
  });
  const std::span<const std::byte> data = file.subspan(8 + length);
  uint64_t position = 0;
  for (Entry& entry : entries) {
    if (entry.begin != position)
      usage_error(
          "{}: tensor {} starts at byte {} of the data, {} byte {}", source,
          printed_name(entry.tensor.name), entry.begin,
          entry.begin > position ? "leaving a hole after" : "overlapping the one that ends at",
          position);
    if (entry.end > data.size())
      usage_error(
          "{}: tensor {} ends at byte {} of the data, but the file has only {} bytes of data",
          source, printed_name(entry.tensor.name), entry.end, data.size());
    entry.tensor.bytes = data.subspan(entry.begin, entry.end - entry.begin);
    position = entry.end;
  }
  if (position != data.size())
    usage_error("{}: the tensors end at byte {} of the data, but the file goes on to byte {}",
                source, position, data.size());
  content.tensors.reserve(entries.size());
  for (Entry& entry : entries) content.tensors.push_back(std::move(entry.tensor));
  return content;
}

}  // namespace

std::optional<DType> dtype_from_safetensors(std::string_view name) noexcept {
  for (int i = 0; i < kDTypeCount; ++i)
    if (safetensors_name(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  return std::nullopt;
}

std::string_view safetensors_name(DType dtype) noexcept {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::bf16:
      return "BF16";
    case DType::f16:
      return "F16";
    case DType::f64:
      return "F64";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::u8:
      return "U8";
    case DType::boolean:
      return "BOOL";
    case DType::f8_e4m3:
      return "F8_E4M3";
    case DType::f8_e5m2:
      return "F8_E5M2";
  }
  return "";
}

int safetensors_bits(std::string_view name) noexcept {
  const size_t rank = type_rank(name);
  return rank < kTypes.size() ? kTypes[rank].bits : 0;
}

uint64_t safetensors_bytes(std::string_view dtype, const std::vector<int64_t>& dims) {
  const int bits = safetensors_bits(dtype);
  if (bits == 0) usage_error("unknown element type {}", printed_name(dtype));
  uint64_t total = 1;
  for (const int64_t dim : dims) {
    if (dim < 0) usage_error("dimension {} is negative", dim);
    if (__builtin_mul_overflow(total, static_cast<uint64_t>(dim), &total))
      usage_error("the number of elements of shape {} overflows", printed_dims(dims));
  }
  if (__builtin_mul_overflow(total, static_cast<uint64_t>(bits), &total))
    usage_error("the size of {}{} overflows", dtype, printed_dims(dims));
  if (total % 8 != 0)
    usage_error("{}{} takes {} bits, which fill no whole bytes", dtype, printed_dims(dims), total);
  return total / 8;
}

SafetensorsContent parse_safetensors(std::span<const std::byte> file, std::string_view source) {
  try {
    return parse_checked(file, source);
  } catch (const std::bad_alloc&) {
    resource_error("{}: out of memory while reading the header", source);
  }
}

// ---- Safetensors

struct Safetensors::State {
  std::vector<MappedFile> mappings;
  std::vector<std::string> files;
  std::vector<StoredTensor> tensors;
  std::vector<size_t> file_of;                          // for each tensor
  std::unordered_map<std::string_view, size_t> places;  // names of `tensors`
  SafetensorsMetadata metadata;

  void add_file(const std::string& path) {
    mappings.emplace_back(path);
    files.push_back(path);
    SafetensorsContent content = parse_safetensors(mappings.back().bytes(), path);
    if (files.size() == 1) metadata = std::move(content.metadata);
    for (StoredTensor& tensor : content.tensors) tensors.push_back(std::move(tensor));
    file_of.resize(tensors.size(), files.size() - 1);
  }
  void index_names() {
    places.reserve(tensors.size());
    for (size_t i = 0; i < tensors.size(); ++i)
      if (!places.emplace(tensors[i].name, i).second)
        usage_error("{}: tensor {} is in two of the shards", parent_path(files[0]),
                    printed_name(tensors[i].name));
  }
};

namespace {

// Tensor names and the shards that hold them.
std::vector<std::pair<std::string, std::string>> read_index(const std::string& path) {
  const Json index = Json::parse(read_file(path, kMaxIndexBytes), path,
                                 {.max_depth = 16, .refuse_duplicate_keys = true});
  const Json* map = index.find("weight_map");
  if (map == nullptr) usage_error("{}: no \"weight_map\": not an index of safetensors files", path);
  std::vector<std::pair<std::string, std::string>> entries;
  for (const auto& [tensor, file] : map->items(path + ": weight_map")) {
    const std::string& name = file.as_string(format("{}: shard of {}", path, printed_name(tensor)));
    // A shard lies beside its index; an index must not make us read anything else.
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\\') != std::string::npos || name.find('\0') != std::string::npos)
      usage_error("{}: shard name {} of tensor {} is no plain file name", path, printed_name(name),
                  printed_name(tensor));
    entries.emplace_back(tensor, name);
  }
  if (entries.empty()) usage_error("{}: weight_map lists no tensors", path);
  return entries;
}

}  // namespace

Safetensors Safetensors::open(const std::string& path) {
  std::string file = path;
  if (is_pickle_name(base_name(file)) && !folder_exists(path))
    usage_error("{}: these are {}", path, kPickled);
  if (folder_exists(path)) {
    file = join_path(path, "model.safetensors");
    if (!file_exists(file)) file = join_path(path, "model.safetensors.index.json");
    if (!file_exists(file)) {
      for (const char* name : {"model.safetensors", "model.safetensors.index.json"})
        if (const std::string link = join_path(path, name); is_link(link))
          usage_error("{}: {}", path, describe_absent(link));
      for (const std::string& name : list_folder(path))
        if (is_pickle_name(name))
          usage_error("{}: there is no model.safetensors, and {} holds {}", path, name, kPickled);
      usage_error(
          "{}: neither model.safetensors nor model.safetensors.index.json is in this folder", path);
    }
  }
  auto state = std::make_shared<State>();
  if (!file.ends_with(".json")) {
    state->add_file(file);
    state->index_names();
    return Safetensors(std::move(state));
  }
  const auto entries = read_index(file);
  std::set<std::string> shards;
  for (const auto& entry : entries) shards.insert(entry.second);
  std::vector<std::string> missing;
  for (const std::string& shard : shards)
    if (const std::string place = join_path(parent_path(file), shard); !file_exists(place))
      missing.push_back(is_link(place) ? describe_absent(place) : shard);
  if (!missing.empty())
    usage_error("{}: {} of {} shards are missing: {}", file, missing.size(), shards.size(),
                fmt::join(missing, ", "));
  std::unordered_map<std::string_view, size_t> numbers;
  state->mappings.reserve(shards.size());
  for (const std::string& shard : shards) {
    numbers.emplace(shard, numbers.size());
    state->add_file(join_path(parent_path(file), shard));
  }
  state->index_names();
  for (const auto& [tensor, shard] : entries) {
    const auto place = state->places.find(tensor);
    if (place == state->places.end() || state->file_of[place->second] != numbers.at(shard))
      usage_error("{}: tensor {} is not in {}", file, printed_name(tensor), shard);
  }
  return Safetensors(std::move(state));
}

const std::vector<StoredTensor>& Safetensors::tensors() const noexcept {
  return state_->tensors;
}

const StoredTensor* Safetensors::find(std::string_view name) const noexcept {
  const auto place = state_->places.find(name);
  return place == state_->places.end() ? nullptr : &state_->tensors[place->second];
}

const StoredTensor& Safetensors::at(std::string_view name) const {
  if (const StoredTensor* tensor = find(name)) return *tensor;
  std::vector<std::string> names;
  for (const StoredTensor& tensor : state_->tensors) names.push_back(tensor.name);
  usage_error("{}: no tensor {} among {}{}", state_->files[0], printed_name(name), names.size(),
              did_you_mean(name, names));
}

const SafetensorsMetadata& Safetensors::metadata() const noexcept {
  return state_->metadata;
}
const std::vector<std::string>& Safetensors::files() const noexcept {
  return state_->files;
}

// ---- writing

void write_safetensors(
    const std::string& path, const std::vector<StoredTensor>& tensors,
    const SafetensorsMetadata& metadata,
    const std::function<std::span<const std::byte>(const StoredTensor&)>& fetch) {
  struct Planned {
    const StoredTensor* tensor;
    size_t rank;
    uint64_t bytes;
  };
  std::vector<Planned> plan;
  plan.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) {
    const std::string label = format("{}: tensor {}", path, printed_name(tensor.name));
    if (tensor.name == kMetadataKey) usage_error("{}: this name is reserved", label);
    if (find_invalid_utf8(tensor.name) != std::string::npos)
      usage_error("{}: the name is no UTF-8", label);
    try {
      plan.push_back(
          {&tensor, type_rank(tensor.dtype), safetensors_bytes(tensor.dtype, tensor.dims)});
    } catch (const Error& error) {
      usage_error("{}: {}", label, error.what());
    }
  }
  std::sort(plan.begin(), plan.end(), [](const Planned& a, const Planned& b) {
    return std::tie(a.rank, a.tensor->name) < std::tie(b.rank, b.tensor->name);
  });
  std::set<std::string_view> names;
  for (const Planned& item : plan)
    if (!names.insert(item.tensor->name).second)
      usage_error("{}: tensor {} is given twice", path, printed_name(item.tensor->name));

  std::string header = "{";
  if (!metadata.empty()) {
    Json values = Json::object();
    for (const auto& [key, value] : metadata) {
      if (find_invalid_utf8(key) != std::string::npos ||
          find_invalid_utf8(value) != std::string::npos)
        usage_error("{}: metadata {} is no UTF-8", path, printed_name(key));
      if (values.contains(key))
        usage_error("{}: metadata key {} is given twice", path, printed_name(key));
      values.set(key, value);
    }
    header += format("\"{}\":{}", kMetadataKey, values.dump());
  }
  uint64_t position = 0;
  for (const Planned& item : plan) {
    uint64_t end = 0;
    if (__builtin_add_overflow(position, item.bytes, &end))
      usage_error("{}: the total size overflows", path);
    header += format("{}{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}}",
                     header.size() > 1 ? "," : "", json_quote(item.tensor->name),
                     item.tensor->dtype, fmt::join(item.tensor->dims, ","), position, end);
    position = end;
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');
  if (header.size() > kMaxHeader)
    usage_error("{}: {} tensors need a header of {} bytes, above the limit of {}", path,
                plan.size(), header.size(), kMaxHeader);

  AtomicFile file(path);
  const uint64_t length = header.size();
  file.write(std::as_bytes(std::span<const uint64_t, 1>(&length, 1)));
  file.write(header);
  for (const Planned& item : plan) {
    const std::span<const std::byte> bytes = fetch(*item.tensor);
    if (bytes.size() != item.bytes)
      usage_error("{}: tensor {}: {}{} takes {} bytes, {} were given", path,
                  printed_name(item.tensor->name), item.tensor->dtype,
                  printed_dims(item.tensor->dims), item.bytes, bytes.size());
    file.write(bytes);
  }
  file.commit();
}

void write_safetensors(const std::string& path, const std::vector<StoredTensor>& tensors,
                       const SafetensorsMetadata& metadata) {
  write_safetensors(path, tensors, metadata,
                    [](const StoredTensor& tensor) { return tensor.bytes; });
}

}  // namespace corten
