// Which modules an adapter's config names, by PEFT's rules.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "corten/lora.h"
#include "text/regex.h"

namespace corten::lora {

class Targets {
 public:
  /// Both must outlive this.
  Targets(const LoraConfig& config, nn::Module& base);
  /// Whether a module gets an adapter; `is_linear`: it could have one.
  bool matches(std::string_view name, bool is_linear) const;
  /// Whether a module is trained as a whole.
  bool is_saved(std::string_view name) const;
  int64_t rank(std::string_view name) const;
  double alpha(std::string_view name) const;
  /// For messages: what was looked for.
  std::string description() const;

 private:
  bool is_in_layers(std::string_view name) const;

  const LoraConfig& config_;
  std::unique_ptr<Regex> target_, exclude_;
  std::vector<Regex> layers_, ranks_, alphas_;
};

}  // namespace corten::lora
