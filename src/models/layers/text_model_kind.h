// What reading, writing and judging a model of text takes to know about it, whatever its
// architecture.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "corten/safetensors.h"
#include "models/layers/labels.h"

namespace corten::layers {

struct EncoderConfig;
struct EncoderFamily;

struct TextModelKind {
  std::string type_name;  ///< the class of transformers: "BertForMaskedLM"
  Json config;            ///< config.json, but for "architectures"
  int64_t vocab_size = 0, hidden_size = 0, max_positions = 0;
  std::optional<int64_t> pad_token_id;
  LabelsConfig labels;

  virtual ~TextModelKind() = default;
  /// The name under which the model holds a tensor of a file; "" for buffers of older versions.
  virtual std::string map_weight_name(std::string_view stored) const = 0;
  /// Whether a file must have this parameter: otherwise it is drawn anew.
  virtual bool is_required(std::string_view name) const = 0;
  /// Whether a file's tensor that the model does not hold is a copy of one that it holds.
  virtual bool is_copy(std::string_view /*name*/) const { return false; }
  /// Parameters of the model that files may have under another name instead, and that name.
  virtual std::vector<std::pair<std::string, std::string>> other_names() const { return {}; }
  /// Usage error where weights and config cannot belong together.
  virtual void check_weights(const Safetensors& /*file*/, std::string_view /*folder*/) const {}
  /// Multiplications and additions of the products of a classifier's forward pass.
  virtual double forward_flops(int64_t batch, int64_t tokens) const = 0;
};

/// `task`: what follows the family's name in the type's.
std::unique_ptr<const TextModelKind> encoder_kind(const EncoderFamily& family,
                                                  const EncoderConfig& config,
                                                  std::string_view task);

}  // namespace corten::layers
