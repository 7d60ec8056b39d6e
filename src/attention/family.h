// A family's table. Included last by the families' files.
#pragma once

#include "attention/forward.h"
#include "attention/gradient.h"

namespace corten::attention_detail {
namespace {

template <class U>
constexpr Family make_family() {
  return {{kRows, kGradientQueries, kGradientKeys},
          [](const AttentionArgs& a, int64_t queries) { return Forward<U>::bytes(a, queries); },
          [](const Head& head, int64_t q0, int64_t q1, void* scratch) {
            Forward<U>(head, q0, q1, static_cast<float*>(scratch)).run();
          },
          [](const Head& head, int64_t q0, int64_t q1) { sum_dots(head, q0, q1); },
          [](const AttentionArgs& a, Part part) { return Gradient<U>::bytes(a, part); },
          [](const Head& head, Part part, int64_t first, int64_t last, void* scratch) {
            Gradient<U>(head, part, static_cast<float*>(scratch)).run(part, first, last);
          }};
}

}  // namespace
}  // namespace corten::attention_detail
