#include "models/token_ids.h"

namespace corten {

std::vector<int64_t> token_ids(const Json& json, std::string_view what) {
  if (json.is_null()) return {};
  if (!json.is_array()) return {json.as_int(what)};
  std::vector<int64_t> out;
  for (const Json& id : json.elements(what)) out.push_back(id.as_int(what));
  return out;
}

Json token_ids_json(const std::vector<int64_t>& ids) {
  if (ids.empty()) return {};
  return ids.size() == 1 ? Json(ids[0]) : Json(ids);
}

}  // namespace corten
