// Errors: one exception type with a kind, raised by every public function of Corten.
#pragma once

#include <stdexcept>
#include <string>

namespace corten {

/// Who can act on an error.
enum class ErrorKind {
  Usage,     ///< the caller can fix it: a bad shape, flag, file or value
  Resource,  ///< memory, device, disk, network or peer
  Internal,  ///< a fault of Corten itself; please report it
};

/// The only exception type that leaves the library. `what()` is one line of UTF-8 with every value
/// needed, whatever the values hold: control characters and bytes that are no UTF-8 become '?', and
/// what exceeds 8 KiB becomes "...".
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message);
  ErrorKind kind() const noexcept { return kind_; }

 private:
  ErrorKind kind_;
};

/// "usage", "resource" or "internal".
const char* to_string(ErrorKind kind) noexcept;

}  // namespace corten
