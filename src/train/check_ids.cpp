#include "train/check_ids.h"

#include "base/format.h"
#include "base/json.h"

namespace corten {

void check_token_ids(const std::vector<int64_t>& ids, const std::string& config_json) {
  const int64_t size =
      Json::parse(config_json, "config.json").at("vocab_size").as_int("\"vocab_size\"");
  for (int64_t id : ids)
    if (id < 0 || id >= size)
      usage_error("token id {} is outside the vocabulary of {}", id, size);
}

}  // namespace corten
