// Compiled objects on disk, shared by all processes of a user.
//
// A file per object, named after the hash of everything that could change it, with a hash of its
// content: a file that is damaged, cut short or unreadable counts as missing. Nothing here raises:
// without a usable folder there is no cache.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/hash.h"

namespace corten::codegen {

class ObjectCache {
 public:
  /// `folder` "" means no cache; it is created with the first object. The least recently used
  /// objects go when all together are larger than `max_bytes`.
  ObjectCache(std::string folder, uint64_t max_bytes);

  std::optional<std::string> load(const Hash128& key);
  void store(const Hash128& key, std::string_view object);
  const std::string& folder() const { return folder_; }

 private:
  std::string path(const Hash128& key) const;
  void evict();

  std::string folder_;
  uint64_t max_bytes_;
  std::mutex mutex_;
  uint64_t bytes_ = 0;  // of all files, as of the last look and what this process added since
  bool known_ = false;
  uint64_t written_ = 0;  // files, to name temporaries
};

/// The cache of this user: $CORTEN_CACHE_DIR/objects, $XDG_CACHE_HOME/corten/objects or
/// ~/.cache/corten/objects, of at most $CORTEN_CACHE_MB MiB (256; 0: no cache). The environment is
/// read once.
ObjectCache& object_cache();

}  // namespace corten::codegen
