#include "corten/error.h"

#include "base/strings.h"

namespace corten {

Error::Error(ErrorKind kind, const std::string& message)
    : std::runtime_error(one_line(message, 8192)), kind_(kind) {}

const char* to_string(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::Usage: return "usage";
    case ErrorKind::Resource: return "resource";
    case ErrorKind::Internal: return "internal";
  }
  return "internal";
}

}  // namespace corten
