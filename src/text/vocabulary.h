// The tokens of a model with their ids.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace corten {

/// Finds the number of a token by its text: open addressing over strings kept elsewhere.
class TokenIndex {
 public:
  void reserve(size_t tokens);
  /// The number stored for `token`, which is `number` itself if it was new.
  int32_t insert(std::string_view token, int32_t number);
  int32_t find(std::string_view token) const noexcept;  ///< -1 if there is none

 private:
  struct Slot {
    std::string_view token;
    uint32_t hash = 0;  // the upper half
    int32_t number = -1;
  };
  void place(const Slot& slot) noexcept;
  std::vector<Slot> slots_;  // a power of two, at most half full
  size_t size_ = 0;
};

/// Tokens and their ids, both ways. Immutable.
class Vocabulary {
 public:
  using Entries = std::vector<std::pair<std::string, int64_t>>;
  /// Usage error "<where>: ..." for tokens that are there twice and for ids that are negative,
  /// unreasonably large or used twice.
  Vocabulary(Entries entries, const std::string& where);
  Vocabulary(const Vocabulary&) = delete;  // tokens_ and index_ refer to the strings of entries_
  Vocabulary(Vocabulary&&) = default;

  size_t size() const noexcept { return entries_.size(); }  ///< tokens
  int32_t max_id() const noexcept { return static_cast<int32_t>(tokens_.size()) - 1; }
  int32_t id(std::string_view token) const noexcept {  ///< -1 if there is none
    const int32_t number = index_.find(token);
    return number < 0 ? -1 : static_cast<int32_t>(entries_[static_cast<size_t>(number)].second);
  }
  /// Text of a token; a null view (data() == nullptr) if there is none.
  std::string_view token(int32_t id) const noexcept {
    return id < 0 || id > max_id() ? std::string_view() : tokens_[static_cast<size_t>(id)];
  }
  const Entries& entries() const noexcept { return entries_; }

 private:
  Entries entries_;
  std::vector<std::string_view> tokens_;  // by id
  TokenIndex index_;                      // numbers in entries_
};

}  // namespace corten
