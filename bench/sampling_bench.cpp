// Processor time per token of choosing one from the logits of real vocabularies.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <vector>

#include "corten/generate.h"

using namespace corten;

namespace {

double median_ms(const std::vector<float>& logits, const Sampling& sampling) {
  std::vector<double> times;
  int64_t sum = 0;
  for (int64_t step = 0; step < 101; ++step) {
    const std::clock_t start = std::clock();
    sum += sample_token(logits.data(), static_cast<int64_t>(logits.size()), sampling, step);
    times.push_back(1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  std::ranges::nth_element(times, times.begin() + 50);
  return sum < 0 ? 0 : times[50];
}

}  // namespace

int main() {
  for (size_t vocab : {50257, 151936}) {
    for (double spread : {2.0, 6.0}) {  // of nearly normal logits: flat and peaked distributions
      std::vector<float> logits;
      uint64_t state = 88172645463325252u;
      for (size_t i = 0; i < vocab; ++i) {
        double sum = 0;
        for (int k = 0; k < 12; ++k) {
          state ^= state << 13, state ^= state >> 7, state ^= state << 17;
          sum += static_cast<double>(state >> 11) * 0x1p-53 - 0.5;
        }
        logits.push_back(static_cast<float>(sum * spread));
      }
      const std::pair<const char*, Sampling> settings[] = {
          {"greedy", {.temperature = 0}},
          {"temperature 0.8", {.temperature = 0.8}},
          {"top_k 50", {.temperature = 0.8, .top_k = 50}},
          {"top_k 1000", {.temperature = 0.8, .top_k = 1000}},
          {"top_k 50, top_p 0.9", {.temperature = 0.8, .top_k = 50, .top_p = 0.9}},
          {"top_p 0.9", {.temperature = 0.8, .top_p = 0.9}},
          {"min_p 0.05", {.temperature = 0.8, .min_p = 0.05}},
          {"typical 0.9", {.temperature = 0.8, .typical_p = 0.9}},
      };
      for (const auto& [name, sampling] : settings)
        fmt::print("{:>7} tokens, spread {}: {:>22} {:.3f} ms\n", vocab, spread, name,
                   median_ms(logits, sampling));
    }
  }
}
