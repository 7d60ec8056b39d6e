#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "base/format.h"
#include "corten/data.h"
#include "data/permutation.h"

namespace corten {
namespace {

// Token i of the stream is i, so that a batch shows where it comes from.
TokenShards counting_stream(uint64_t tokens, std::vector<uint64_t> starts = {0}) {
  std::vector<uint32_t> ids(tokens);
  std::iota(ids.begin(), ids.end(), 0u);
  return TokenShards::from_memory(std::move(ids), std::move(starts));
}

std::string message_of(const std::function<void()>& function) {
  try {
    function();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::Usage);
    return error.what();
  }
  return "";
}

TEST(Permutation, IsABijection) {
  for (uint64_t n = 1; n <= 300; ++n) {
    const Permutation permutation(n, 42, n);
    std::set<uint64_t> images;
    for (uint64_t i = 0; i < n; ++i) images.insert(permutation(i));
    ASSERT_EQ(images.size(), n);
    ASSERT_LT(*images.rbegin(), n);
  }
  for (const uint64_t n : {uint64_t{65536}, uint64_t{65537}, uint64_t{100003}}) {
    const Permutation permutation(n, 1, 2);
    std::vector<bool> seen(n);
    for (uint64_t i = 0; i < n; ++i) {
      const uint64_t image = permutation(i);
      ASSERT_LT(image, n);
      ASSERT_FALSE(seen[image]);
      seen[image] = true;
    }
  }
}

TEST(Permutation, WorksInHugeDomains) {
  const uint64_t n = (uint64_t{1} << 61) + 12345;
  const Permutation permutation(n, 9, 9);
  std::set<uint64_t> images;
  for (uint64_t i = 0; i < 10000; ++i) images.insert(permutation(i * (n / 10000)));
  EXPECT_EQ(images.size(), 10000u);
  EXPECT_LT(*images.rbegin(), n);
}

// Chi-squared of where element 0, 1, ... goes over many keys. With n - 1 degrees of freedom the
// value is below n - 1 + 5 sqrt(2 (n - 1)) but for about one case in 10^5 (n small: a fatter tail).
TEST(Permutation, EveryPlaceIsEquallyLikely) {
  for (const uint64_t n : {2u, 3u, 5u, 10u, 17u, 64u, 100u}) {
    for (uint64_t element : {uint64_t{0}, n / 2, n - 1}) {
      constexpr int kKeys = 20000;
      std::vector<double> counts(n);
      for (int key = 0; key < kKeys; ++key)
        counts[Permutation(n, static_cast<uint64_t>(key % 200),
                           static_cast<uint64_t>(key / 200))(element)] += 1;
      const double expected = kKeys / static_cast<double>(n);
      double chi = 0;
      for (const double count : counts) chi += (count - expected) * (count - expected) / expected;
      const double freedom = static_cast<double>(n - 1);
      EXPECT_LT(chi, freedom + 6 * std::sqrt(2 * freedom)) << "n " << n << " element " << element;
    }
  }
}

// Neighbours of the input are no neighbours of the output: in a random permutation of n, the
// expected number of i with |p(i+1) - p(i)| = 1 is 2 (n-1) / n, about 2.
TEST(Permutation, ScattersNeighbours) {
  const uint64_t n = 50000;
  double neighbours = 0, fixed = 0;
  for (uint64_t epoch = 0; epoch < 20; ++epoch) {
    const Permutation permutation(n, 3, epoch);
    uint64_t before = permutation(0);
    fixed += before == 0 ? 1 : 0;
    for (uint64_t i = 1; i < n; ++i) {
      const uint64_t here = permutation(i);
      neighbours += here == before + 1 || before == here + 1 ? 1 : 0;
      fixed += here == i ? 1 : 0;
      before = here;
    }
  }
  EXPECT_LT(neighbours / 20, 4.0);
  EXPECT_GT(neighbours / 20, 0.8);
  EXPECT_LT(fixed / 20, 2.2);  // expected: 1
}

TEST(TokenDataset, EveryWindowOncePerEpoch) {
  const int64_t seq = 7, batch_size = 4;
  const TokenDataset data(counting_stream(7 * 23 + 3), {.seq = seq, .seed = 5});
  ASSERT_EQ(data.windows(), 23u);
  std::map<uint64_t, std::vector<int32_t>> windows_of_epoch;
  for (uint64_t step = 0; step < 23; ++step) {  // 92 samples: four epochs; batches span epochs
    const Batch batch = data.batch(step, batch_size);
    ASSERT_EQ(batch.inputs.size(), 28u);
    for (int64_t row = 0; row < batch_size; ++row) {
      const uint64_t sample = step * 4 + static_cast<uint64_t>(row);
      const int32_t first = batch.inputs[static_cast<size_t>(row * seq)];
      ASSERT_EQ(first % seq, 0);
      windows_of_epoch[sample / 23].push_back(first / 7);
      for (int64_t t = 0; t < seq; ++t) {
        ASSERT_EQ(batch.inputs[static_cast<size_t>(row * seq + t)], first + t);
        ASSERT_EQ(batch.targets[static_cast<size_t>(row * seq + t)], first + t + 1);
      }
    }
  }
  ASSERT_EQ(windows_of_epoch.size(), 4u);
  for (auto& [epoch, windows] : windows_of_epoch) {
    if (epoch > 0) {
      EXPECT_NE(windows, windows_of_epoch[0]) << "epochs differ in order";
    }
  }
  for (auto& [epoch, windows] : windows_of_epoch) {
    std::sort(windows.begin(), windows.end());
    for (int i = 0; i < 23; ++i) ASSERT_EQ(windows[static_cast<size_t>(i)], i) << epoch;
  }
}

TEST(TokenDataset, AnyBatchIsComputedDirectly) {
  const TokenShards stream = counting_stream(10000);
  const TokenDataset a(stream, {.seq = 16, .seed = 3}), b(stream, {.seq = 16, .seed = 3}),
      other(stream, {.seq = 16, .seed = 4});
  std::vector<std::vector<int32_t>> run;
  for (uint64_t step = 0; step < 300; ++step) run.push_back(a.batch(step, 5).inputs);
  for (const uint64_t step : {299u, 0u, 150u, 149u})  // a resumed run starts anywhere
    EXPECT_EQ(b.batch(step, 5).inputs, run[step]);
  EXPECT_NE(other.batch(0, 5).inputs, run[0]);
  EXPECT_EQ(a.batch(uint64_t{1} << 50, 5).inputs, b.batch(uint64_t{1} << 50, 5).inputs);
  // The order of samples does not depend on the size of batches.
  const Batch large = a.batch(1, 15);
  for (int i = 0; i < 3; ++i) {
    const Batch small = a.batch(static_cast<uint64_t>(3 + i), 5);
    EXPECT_TRUE(
        std::equal(small.inputs.begin(), small.inputs.end(), large.inputs.begin() + i * 80));
  }
}

TEST(TokenDataset, RowsAreSlicesOfTheBatch) {
  const TokenDataset data(counting_stream(5000), {.seq = 10});
  const Batch whole = data.batch(7, 6), part = data.batch(7, 6, 2, 5);
  EXPECT_EQ(part.rows, 3);
  EXPECT_TRUE(std::equal(part.targets.begin(), part.targets.end(), whole.targets.begin() + 20));
  std::vector<int64_t> inputs(30), targets(30);
  data.fill(7, 6, 2, 5, inputs, targets);
  EXPECT_TRUE(std::equal(inputs.begin(), inputs.end(), whole.inputs.begin() + 20));
  EXPECT_TRUE(std::equal(targets.begin(), targets.end(), whole.targets.begin() + 20));
  EXPECT_EQ(data.batch(7, 6, 3, 3).inputs.size(), 0u);
  EXPECT_NE(message_of([&] { data.batch(7, 6, 2, 7); }), "");
  EXPECT_NE(message_of([&] { data.batch(7, 6, -1, 2); }), "");
  EXPECT_NE(message_of([&] { data.batch(7, 0); }), "");
  EXPECT_NE(message_of([&] { data.batch(~uint64_t{0}, 2); }), "");
  EXPECT_NE(message_of([&] { data.fill(7, 6, 2, 4, inputs, targets); }), "");
}

TEST(TokenDataset, ValidationIsHeldOutAtTheEnd) {
  const int64_t seq = 9;
  const TokenShards stream = counting_stream(9 * 101 + 1);  // 101 windows
  for (const double fraction : {0.001, 0.05, 0.5, 0.9999}) {
    const DatasetOptions options{.seq = seq, .val_fraction = fraction};
    DatasetOptions held_out = options;
    held_out.split = Split::validation;
    const TokenDataset train(stream, options), validation(stream, held_out);
    EXPECT_EQ(train.windows() + validation.windows(), 101u);
    EXPECT_EQ(validation.windows(),
              std::clamp<uint64_t>(static_cast<uint64_t>(std::llround(fraction * 101)), 1, 100));
    std::set<int32_t> train_targets, val_targets;
    for (uint64_t i = 0; i < train.windows(); ++i)
      for (const int32_t id : train.batch(i, 1).targets) train_targets.insert(id);
    for (uint64_t i = 0; i < validation.windows(); ++i)
      for (const int32_t id : validation.batch(i, 1).targets) val_targets.insert(id);
    EXPECT_EQ(train_targets.size(), train.windows() * 9);
    EXPECT_EQ(*train_targets.rbegin() + 1, *val_targets.begin());  // disjoint, and in this order
    EXPECT_EQ(*val_targets.rbegin(), 9 * 101);
  }
  EXPECT_EQ(TokenDataset(stream, {.seq = seq}).windows(), 101u);
}

TEST(TokenDataset, WithoutShuffling) {
  const TokenDataset data(counting_stream(100), {.seq = 9, .shuffle = false});
  EXPECT_EQ(data.batch(0, 1).inputs[0], 0);
  EXPECT_EQ(data.batch(3, 1).inputs[0], 27);
  EXPECT_EQ(data.batch(11, 1).inputs[0], 0);  // 11 windows: the next epoch
}

TEST(TokenDataset, ErrorsHaveTheNumbers) {
  const TokenShards stream = counting_stream(10);
  EXPECT_EQ(message_of([&] { TokenDataset(stream, {.seq = 10}); }),
            "the data holds 10 tokens; one sequence of seq = 10 needs 11");
  EXPECT_EQ(TokenDataset(stream, {.seq = 9}).windows(), 1u);
  EXPECT_NE(message_of([&] { TokenDataset(stream, {.seq = 0}); }), "");
  EXPECT_NE(message_of([&] { TokenDataset(stream, {.seq = -3}); }), "");
  EXPECT_NE(message_of([&] { TokenDataset(stream, {.seq = 2, .val_fraction = 1}); }), "");
  EXPECT_NE(message_of([&] { TokenDataset(stream, {.seq = 2, .val_fraction = -0.1}); }), "");
  EXPECT_NE(message_of([&] { TokenDataset(stream, {.seq = 2, .val_fraction = std::nan("")}); }),
            "");
  const auto validation = [&](double fraction, int64_t seq) {
    return message_of([&] {
      TokenDataset(stream, {.seq = seq, .val_fraction = fraction, .split = Split::validation});
    });
  };
  EXPECT_NE(validation(0, 2).find("no validation data"), std::string::npos);
  EXPECT_NE(validation(0.5, 9).find("no validation data"), std::string::npos);
  EXPECT_EQ(validation(0.5, 2), "");
}

TEST(TokenDataset, TracesEveryTokenToItsDocument) {
  const std::vector<uint64_t> starts = {0, 3, 4, 20, 21, 50};
  const TokenShards stream = counting_stream(64, starts);
  EXPECT_EQ(stream.documents(), 6u);
  const TokenDataset data(stream, {.seq = 8, .seed = 2});
  for (uint64_t step = 0; step < 12; ++step)
    for (int64_t row = 0; row < 3; ++row) {
      const Batch batch = data.batch(step, 3, row, row + 1);
      const TokenDataset::Trace trace = data.trace(step, 3, row);
      ASSERT_EQ(trace.sample, step * 3 + static_cast<uint64_t>(row));
      ASSERT_EQ(trace.epoch, trace.sample / data.windows());
      std::vector<int32_t> traced;
      for (const auto& piece : trace.pieces) {
        const uint64_t end = piece.document + 1 < starts.size() ? starts[piece.document + 1] : 64;
        for (uint64_t i = 0; i < piece.tokens; ++i) {
          traced.push_back(static_cast<int32_t>(starts[piece.document] + piece.token_offset + i));
          ASSERT_LT(traced.back(), static_cast<int32_t>(end));
        }
      }
      ASSERT_EQ(traced.size(), 9u);
      ASSERT_EQ(traced[0], static_cast<int32_t>(trace.stream_offset));
      ASSERT_TRUE(std::equal(batch.inputs.begin(), batch.inputs.end(), traced.begin()));
      ASSERT_EQ(batch.targets.back(), traced.back());
    }
  EXPECT_NE(message_of([&] { data.trace(0, 3, 3); }), "");
}

TEST(TokenShards, MemoryIsChecked) {
  EXPECT_NE(message_of([] { TokenShards::from_memory({}); }), "");
  EXPECT_NE(message_of([] { TokenShards::from_memory({1, 2}, {}); }), "");
  EXPECT_NE(message_of([] { TokenShards::from_memory({1, 2}, {1}); }), "");
  EXPECT_NE(message_of([] { TokenShards::from_memory({1, 2}, {0, 2}); }), "");
  EXPECT_NE(message_of([] { TokenShards::from_memory({1, 2, 3}, {0, 2, 2}); }), "");
  EXPECT_NE(message_of([] { TokenShards::from_memory({0x80000000u}); }), "");
  const TokenShards a = TokenShards::from_memory({1, 2, 3}),
                    b = TokenShards::from_memory({1, 2, 4}),
                    c = TokenShards::from_memory({1, 2, 3}, {0, 1});
  EXPECT_NE(a.fingerprint(), b.fingerprint());
  EXPECT_NE(a.fingerprint(), c.fingerprint());
  std::vector<int32_t> out(2);
  EXPECT_NE(message_of([&] { a.copy(2, std::span(out)); }), "");
  EXPECT_NE(message_of([&] { a.place(3); }), "");
}

}  // namespace
}  // namespace corten
