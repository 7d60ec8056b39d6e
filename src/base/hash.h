// XXH3 hashes (fast, not cryptographic) of byte strings and streams.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace corten {

/// A 128-bit hash value.
struct Hash128 {
  uint64_t high = 0, low = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed = 0) noexcept;
uint64_t hash64(std::string_view bytes, uint64_t seed = 0) noexcept;
Hash128 hash128(std::span<const std::byte> bytes) noexcept;
Hash128 hash128(std::string_view bytes) noexcept;

/// 16 and 32 lower-case hexadecimal digits, most significant first (as xxhsum prints them).
std::string hex(uint64_t value);
std::string hex(const Hash128& value);

/// Hash of a stream: the same value as hashing all bytes at once.
class Hasher {
 public:
  Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  ~Hasher();

  Hasher& update(std::span<const std::byte> bytes) noexcept;
  Hasher& update(std::string_view bytes) noexcept;
  /// The bytes of a plain value (integers, floats), little-endian.
  template <typename T>
    requires std::is_arithmetic_v<T>
  Hasher& update_value(T value) noexcept {
    return update(std::as_bytes(std::span<const T, 1>(&value, 1)));
  }
  uint64_t digest64() const noexcept;  ///< of everything so far; may be called repeatedly
  Hash128 digest128() const noexcept;
  void reset() noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace corten
