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
