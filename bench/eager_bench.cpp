// What an op costs beside its arithmetic: calls on tensors so small that everything is overhead, nanoseconds per op.
//
//   build/release/eager_bench [filter]
//
// scripts/peers/compare_eager.py runs the same beside PyTorch.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "corten/corten.h"

namespace {

using namespace corten;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Case {
  const char* name;
  int ops;  ///< that one call makes
  std::function<void()> call;
};

double nanoseconds(const Case& c) {
  int64_t calls = 16;
  c.call();
  for (;;) {  // as many calls as take about 20 ms
    const double start = seconds();
    for (int64_t i = 0; i < calls; ++i) c.call();
    if (seconds() - start > 0.01) break;
    calls *= 2;
  }
  std::vector<double> times;
  for (int round = 0; round < 9; ++round) {
    const double start = seconds();
    for (int64_t i = 0; i < calls; ++i) c.call();
    times.push_back((seconds() - start) / static_cast<double>(calls * c.ops) * 1e9);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const Tensor a = ones({4}), b = ones({4}), m = ones({8, 8});
  const Tensor x = ones({2, 8}), weight = ones({4, 8}), bias = ones({4});
  Tensor p = ones({4}), kept = zeros({4});
  p.set_requires_grad();
  const Case cases[] = {
      {"add", 1, [&] { a + b; }},
      {"mul_number", 1, [&] { a * 2.0; }},
      {"exp", 1, [&] { exp(a); }},
      {"sum", 1, [&] { a.sum(); }},
      {"softmax", 1, [&] { softmax(m, -1); }},
      {"linear", 1, [&] { linear(x, weight, bias); }},
      {"matmul", 1, [&] { matmul(m, m); }},
      {"reshape", 1, [&] { m.reshape({64}); }},
      {"transpose", 1, [&] { m.t(); }},
      {"slice", 1, [&] { m.slice(0, 2, 5); }},
      {"add_of_view", 2, [&] { m.t() + m; }},
      {"add_in_place", 1, [&] { kept.add_(a); }},
      {"zeros", 1, [&] { zeros({4}); }},
      {"item", 1, [&] { kept[0].item<float>(); }},
      {"chain_forward", 4, [&] { ((p * a + b) * p).sum(); }},
      // Four ops, their gradients and two sums of gradients.
      {"chain_backward", 10,
       [&] {
         p.zero_grad();
         ((p * a + b) * p).sum().backward();
       }},
  };
  for (const Case& c : cases)
    if (argc < 2 || std::strstr(c.name, argv[1])) std::printf("%-16s %9.0f ns\n", c.name, nanoseconds(c));
  return 0;
}
