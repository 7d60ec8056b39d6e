#include "io/sharded.h"

#include <algorithm>
#include <charconv>
#include <compare>
#include <set>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/format.h"
#include "base/json.h"
#include "io/tensor_bytes.h"

namespace corten {
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

uint64_t bytes_of(const Tensor& tensor) {
  return static_cast<uint64_t>(tensor.numel()) * size_of(tensor.dtype());
}

/// A part of a name between dots: a number; or a text and the number at its end, if there is one.
struct NamePart {
  bool is_text = false;
  std::string text;
  int64_t number = -1;
  auto operator<=>(const NamePart&) const = default;
};

/// Orders names by their parts, numbers by value, as transformers does before it fills shards.
std::vector<NamePart> natural_key(std::string_view name) {
  std::vector<NamePart> out;
  while (true) {
    const std::string_view part = name.substr(0, name.find('.'));
    const size_t digits = part.find_last_not_of("0123456789") + 1;
    NamePart one{digits > 0 || part.empty(), std::string(part.substr(0, digits))};
    if (digits < part.size() && part.size() - digits < 19)
      std::from_chars(part.data() + digits, part.data() + part.size(), one.number);
    out.push_back(std::move(one));
    if (part.size() == name.size()) return out;
    name.remove_prefix(part.size() + 1);
  }
}

StateDict in_natural_order(const StateDict& state) {
  std::vector<std::pair<std::vector<NamePart>, size_t>> order;
  for (const auto& [name, tensor] : state) order.emplace_back(natural_key(name), order.size());
  std::ranges::sort(order);
  StateDict out;
  for (const auto& [key, index] : order) out.push_back(state[index]);
  return out;
}

std::vector<StateDict> split(const StateDict& state, uint64_t max_shard_size) {
  std::vector<StateDict> shards;
  StateDict current;
  uint64_t size = 0;
  for (const auto& entry : state) {
    const uint64_t bytes = bytes_of(entry.second);
    if (bytes > max_shard_size) {
      shards.push_back({entry});
      continue;
    }
    if (size + bytes > max_shard_size && !current.empty()) {
      shards.push_back(std::move(current));
      current.clear();
      size = 0;
    }
    current.push_back(entry);
    size += bytes;
  }
  if (!current.empty()) shards.push_back(std::move(current));
  return shards;
}

/// model-00001-of-00003.safetensors.
bool is_shard_name(const std::string& name) {
  const std::string pattern = "model-#####-of-#####.safetensors";
  return name.size() == pattern.size() && std::ranges::equal(name, pattern, [](char a, char b) {
           return b == '#' ? a >= '0' && a <= '9' : a == b;
         });
}

void remove_others(const std::string& folder, const std::set<std::string>& written) {
  for (const std::string& name : list_folder(folder))
    if ((name == kSingle || name == kIndex || is_shard_name(name)) && !written.contains(name))
      remove_file(join_path(folder, name));
}

}  // namespace

void write_weights(const std::string& folder, const StateDict& state, uint64_t max_shard_size) {
  if (max_shard_size == 0) usage_error("{}: shards of 0 bytes hold no weights", folder);
  const SafetensorsMetadata metadata = {{"format", "pt"}};
  const std::vector<StateDict> shards = split(in_natural_order(state), max_shard_size);
  if (shards.size() <= 1) {
    write_state(join_path(folder, kSingle), state, metadata);
    remove_others(folder, {kSingle});
    return;
  }
  std::set<std::string> written = {kIndex};
  std::vector<std::pair<std::string, std::string>> places;
  uint64_t size = 0;
  int64_t parameters = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    write_state(join_path(folder, name), shards[i], metadata);
    written.insert(name);
    for (const auto& [tensor_name, tensor] : shards[i]) {
      places.emplace_back(tensor_name, name);
      size += bytes_of(tensor);
      parameters += tensor.numel();
    }
  }
  std::ranges::sort(places);
  Json map = Json::object();
  for (const auto& [tensor_name, name] : places) map.set(tensor_name, name);
  const Json index = Json::object(
      {{"metadata", Json::object({{"total_parameters", parameters}, {"total_size", size}})},
       {"weight_map", map}});
  write_file_atomic(join_path(folder, kIndex), index.dump(2) + "\n");
  remove_others(folder, written);
}

}  // namespace corten
