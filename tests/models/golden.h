// The tiny GPT-2 folders of this directory and what transformers computes with them
// (make_goldens.py).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "corten/corten.h"
#include "corten/generate.h"
#include "corten/models.h"
#include "io/tensor_bytes.h"

namespace corten::testing {

inline const std::vector<std::string> kFolders = {"gpt2_tied", "gpt2_untied", "gpt2_odd"};

inline std::string folder(const std::string& name) {
  return CORTEN_TEST_DATA "/" + name;
}

class Golden {
 public:
  explicit Golden(const std::string& name)
      : state_(read_state(folder(name) + "/golden.safetensors")) {}
  const Tensor& operator[](const std::string& name) const {
    const Tensor* found = find_tensor(state_, name);
    if (!found) throw std::runtime_error("no golden " + name);
    return *found;
  }
  const StateDict& all() const { return state_; }

 private:
  StateDict state_;
};

/// Largest absolute difference; infinite if shapes differ or a number is none.
inline double difference(const Tensor& a, const Tensor& b) {
  if (a.shape() != b.shape()) return INFINITY;
  const std::vector<double> x = a.to_vector<double>(), y = b.to_vector<double>();
  double out = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(x[i] - y[i]);
    out = std::isnan(d) ? INFINITY : std::max(out, d);
  }
  return out;
}
inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::ranges::equal(TensorBytes(a).span(), TensorBytes(b).span());
}

inline double largest(const Tensor& t) {
  return abs(t).amax().item();
}
/// Relative to the largest value, which is one worth comparing.
inline void expect_near(const Tensor& got, const Tensor& expected, double tolerance = 1e-5) {
  EXPECT_GT(largest(expected), 0.05);
  EXPECT_LT(difference(got, expected), tolerance * largest(expected));
}

/// Gradients of every parameter, after backward(), against "<prefix>grad.<name>"; what the model does
/// not use has none on both sides. A bias of all keys moves no softmax: its gradient is zero but for
/// rounding of the others' size, of which `of_all` is allowed.
inline void expect_gradients(const nn::Module& model, const Golden& golden,
                             const std::string& prefix = "", double tolerance = 1e-4,
                             double of_all = 1e-6) {
  size_t compared = 0, stored = 0;
  double scale = 0;
  for (const auto& [name, tensor] : golden.all())
    if (name.starts_with(prefix + "grad.")) scale = std::max(scale, largest(tensor)), ++stored;
  for (const auto& [parameter, tensor] : model.named_parameters()) {
    const Tensor* expected = find_tensor(golden.all(), prefix + "grad." + parameter);
    ASSERT_EQ(tensor.grad().defined(), expected != nullptr) << parameter;
    if (!expected) continue;
    EXPECT_LT(difference(tensor.grad(), *expected), tolerance * largest(*expected) + of_all * scale)
        << parameter;
    ++compared;
  }
  EXPECT_EQ(compared, stored);
}

/// Labels of transformers to targets: shifted by one, nothing after the last token.
inline Tensor shifted(const Tensor& labels) {
  const int64_t rows = labels.size(0), tokens = labels.size(1);
  return concat({labels.slice(1, 1, tokens), full({rows, 1}, -100, DType::i64)}, 1);
}

template <typename F>
std::string usage_message(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}
inline void expect_contains(const std::string& text, const std::string& part) {
  EXPECT_NE(text.find(part), std::string::npos) << text << "\nlacks " << part;
}

}  // namespace corten::testing
