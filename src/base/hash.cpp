#include "base/hash.h"

#define XXH_STATIC_LINKING_ONLY  // the complete state type
#include <xxhash.h>

#include <new>

#include "base/format.h"

namespace corten {

// The 64-bit and the 128-bit variant share one state in XXH3 and differ in the final mix only.
struct Hasher::State {
  XXH3_state_t xxh;
};

namespace {
std::span<const std::byte> bytes_of(std::string_view text) noexcept {
  return std::as_bytes(std::span(text.data(), text.size()));
}
}  // namespace

uint64_t hash64(std::span<const std::byte> bytes, uint64_t seed) noexcept {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}
uint64_t hash64(std::string_view bytes, uint64_t seed) noexcept {
  return hash64(bytes_of(bytes), seed);
}
Hash128 hash128(std::span<const std::byte> bytes) noexcept {
  const XXH128_hash_t value = XXH3_128bits(bytes.data(), bytes.size());
  return {value.high64, value.low64};
}
Hash128 hash128(std::string_view bytes) noexcept {
  return hash128(bytes_of(bytes));
}

std::string hex(uint64_t value) {
  return format("{:016x}", value);
}
std::string hex(const Hash128& value) {
  return format("{:016x}{:016x}", value.high, value.low);
}

Hasher::Hasher() : state_(std::make_unique<State>()) {
  reset();
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

Hasher& Hasher::update(std::span<const std::byte> bytes) noexcept {
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
  return *this;
}
Hasher& Hasher::update(std::string_view bytes) noexcept {
  return update(bytes_of(bytes));
}
uint64_t Hasher::digest64() const noexcept {
  return XXH3_64bits_digest(&state_->xxh);
}
Hash128 Hasher::digest128() const noexcept {
  const XXH128_hash_t value = XXH3_128bits_digest(&state_->xxh);
  return {value.high64, value.low64};
}
void Hasher::reset() noexcept {
  XXH3_128bits_reset(&state_->xxh);
}

}  // namespace corten
