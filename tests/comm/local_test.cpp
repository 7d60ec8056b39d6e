// The ranks of one process: values against a double-precision reference, bits whatever the timing,
// and an error for every way in which ranks can disagree.
#include "comm/local.h"

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <thread>

#include "base/format.h"
#include "base/half.h"

namespace corten::comm {
namespace {

using Bytes = std::vector<char>;
using Body = std::function<void(Comm&)>;

// Runs `body` as every rank; the error of each, "" for none.
std::vector<std::string> run_ranks(std::vector<std::unique_ptr<Comm>>& group, const Body& body) {
  std::vector<std::string> errors(group.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < group.size(); ++r)
    threads.emplace_back([&, r] {
      try {
        body(*group[r]);
      } catch (const Error& e) {
        errors[r] = format("{}: {}", to_string(e.kind()), e.what());
      }
    });
  for (std::thread& t : threads) t.join();
  return errors;
}
void run_all(int size, const Body& body) {
  auto group = make_local_group(size, 60);
  for (const std::string& error : run_ranks(group, body)) EXPECT_EQ(error, "");
}

// Elements of any type, written and read as double.
double get(const Bytes& bytes, size_t i, DType dtype) {
  const auto at = [&](auto value) {
    std::memcpy(&value, bytes.data() + i * sizeof value, sizeof value);
    return value;
  };
  switch (dtype) {
    case DType::f32:
      return at(float{});
    case DType::f64:
      return at(double{});
    case DType::bf16:
      return from_bf16(at(uint16_t{}));
    case DType::f16:
      return from_f16(at(uint16_t{}));
    default:
      return static_cast<double>(at(int64_t{}));
  }
}
void put(Bytes& bytes, size_t i, DType dtype, double x) {
  const auto at = [&](auto value) {
    std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
  };
  switch (dtype) {
    case DType::f32:
      return at(static_cast<float>(x));
    case DType::f64:
      return at(x);
    case DType::bf16:
      return at(to_bf16(static_cast<float>(x)));
    case DType::f16:
      return at(to_f16(static_cast<float>(x)));
    default:
      return at(static_cast<int64_t>(x));
  }
}
// Values of a rank: of very different sizes, so that the order of a sum shows in its bits.
Bytes values(int rank, int64_t count, DType dtype) {
  std::mt19937_64 random(static_cast<uint64_t>(rank) * 1000 + static_cast<uint64_t>(count));
  std::normal_distribution<double> normal;
  Bytes bytes(static_cast<size_t>(count) * size_of(dtype));
  for (int64_t i = 0; i < count; ++i) {
    const double x = normal(random);
    put(bytes, static_cast<size_t>(i), dtype,
        dtype == DType::i64 ? std::round(x * 1e6) : x * std::exp2(normal(random) * 3));
  }
  return bytes;
}

constexpr DType kTypes[] = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64};
constexpr Reduction kReductions[] = {Reduction::sum, Reduction::max, Reduction::mean};
constexpr int kSizes[] = {1, 2, 3, 4, 7};

// The reference: a plain sum in double, and what the tree of `ranks` may be away from it.
struct Expected {
  double value = 0, tolerance = 0;
};
Expected expected(const std::vector<Bytes>& inputs, size_t i, DType dtype, Reduction reduction) {
  double sum = 0, magnitude = 0, most = -std::numeric_limits<double>::infinity();
  for (const Bytes& in : inputs) {
    const double x = get(in, i, dtype);
    sum += x;
    magnitude += std::abs(x);
    most = std::max(most, x);
  }
  if (reduction == Reduction::max) return {most, 0};
  const double n = static_cast<double>(inputs.size());
  const double scale = reduction == Reduction::mean ? 1 / n : 1;
  if (dtype == DType::i64) return {sum, 0};
  const double computed = dtype == DType::f64 ? 0x1p-53 : 0x1p-24;
  const double stored = dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : computed;
  return {sum * scale, scale * (magnitude * n * computed + std::abs(sum) * stored) * 1.01 +
                           (dtype == DType::f16 ? 0x1p-25 : 0)};
}

TEST(LocalComm, AllReduceIsTheReferences) {
  for (const int size : kSizes)
    for (const DType dtype : kTypes)
      for (const Reduction reduction : kReductions)
        for (const int64_t count : {0, 1, 5, 37, 1537}) {
          if (dtype == DType::i64 && reduction == Reduction::mean) continue;
          std::vector<Bytes> inputs, outputs(static_cast<size_t>(size));
          for (int r = 0; r < size; ++r) inputs.push_back(values(r, count, dtype));
          const std::vector<Bytes> kept = inputs;
          run_all(size, [&](Comm& comm) {
            const auto r = static_cast<size_t>(comm.rank());
            outputs[r].resize(inputs[r].size());
            comm.all_reduce({inputs[r].data(), count}, {outputs[r].data(), count}, dtype,
                            reduction);
            // In place, it is the same.
            Bytes own = inputs[r];
            comm.all_reduce({own.data(), count}, {own.data(), count}, dtype, reduction);
            EXPECT_EQ(own, outputs[r]);
          });
          EXPECT_EQ(inputs, kept);
          for (const Bytes& out : outputs) ASSERT_EQ(out, outputs[0]);
          for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
            const Expected e = expected(inputs, i, dtype, reduction);
            ASSERT_NEAR(get(outputs[0], i, dtype), e.value, e.tolerance)
                << size << " ranks, " << name(dtype) << ", element " << i << " of " << count;
          }
        }
}

TEST(LocalComm, ReduceScatterIsAPartOfAllReduce) {
  for (const int size : kSizes)
    for (const DType dtype : kTypes)
      for (const Reduction reduction : kReductions)
        for (const int64_t count : {0, 1, 37, 600}) {
          if (dtype == DType::i64 && reduction == Reduction::mean) continue;
          run_all(size, [&](Comm& comm) {
            Bytes in = values(comm.rank(), count * size, dtype), all(in.size());
            Bytes part(static_cast<size_t>(count) * size_of(dtype));
            comm.all_reduce({in.data(), count * size}, {all.data(), count * size}, dtype,
                            reduction);
            comm.reduce_scatter({in.data(), count * size}, {part.data(), count}, dtype, reduction);
            const size_t begin = static_cast<size_t>(comm.rank()) * part.size();
            EXPECT_TRUE(std::equal(part.begin(), part.end(), all.begin() + begin));
            // Into its place in the input.
            comm.reduce_scatter({in.data(), count * size}, {in.data() + begin, count}, dtype,
                                reduction);
            EXPECT_TRUE(std::equal(part.begin(), part.end(), in.begin() + begin));
          });
        }
}

TEST(LocalComm, GathersBroadcastsAndExchanges) {
  for (const int size : kSizes)
    for (const DType dtype : kTypes)
      for (const int64_t count : {0, 1, 37}) {
        run_all(size, [&](Comm& comm) {
          const int rank = comm.rank();
          const Bytes own = values(rank, count, dtype);
          Bytes all(own.size() * static_cast<size_t>(size)), inplace(all.size());
          comm.all_gather({own.data(), count}, {all.data(), count * size}, dtype);
          char* place = inplace.data() + static_cast<size_t>(rank) * own.size();
          std::copy(own.begin(), own.end(), place);
          comm.all_gather({place, count}, {inplace.data(), count * size}, dtype);
          for (int r = 0; r < size; ++r) {
            const Bytes theirs = values(r, count, dtype);
            const auto begin = static_cast<std::ptrdiff_t>(static_cast<size_t>(r) * theirs.size());
            EXPECT_TRUE(std::equal(theirs.begin(), theirs.end(), all.begin() + begin));
            Bytes data = own;
            comm.broadcast({data.data(), count}, dtype, r);
            EXPECT_EQ(data, theirs);
          }
          EXPECT_EQ(inplace, all);
          // A ring: to the next, from the one before (itself, if it is alone).
          const int next = (rank + 1) % size, before = (rank + size - 1) % size;
          Bytes received(own.size());
          comm.exchange({own.data(), count}, next, {received.data(), count}, before, dtype);
          EXPECT_EQ(received, values(before, count, dtype));
          // A chain: rank 0's values pass through all.
          Bytes passed = values(0, count, dtype);
          if (rank > 0) {
            std::fill(passed.begin(), passed.end(), char{});
            comm.recv({passed.data(), count}, dtype, rank - 1);
          }
          EXPECT_EQ(passed, values(0, count, dtype));
          if (rank + 1 < size) comm.send({passed.data(), count}, dtype, rank + 1);
          comm.barrier();
          comm.synchronize();
        });
      }
}

// The order is that of the tree, whoever comes first.
TEST(LocalComm, BitsDoNotDependOnTiming) {
  for (const int size : {2, 3, 4, 7}) {
    constexpr int64_t kCount = 301;
    std::vector<float> reference(kCount);
    for (size_t i = 0; i < reference.size(); ++i) {
      std::vector<float> x;
      for (int r = 0; r < size; ++r)
        x.push_back(static_cast<float>(get(values(r, kCount, DType::f32), i, DType::f32)));
      const std::function<float(size_t, size_t)> tree = [&](size_t lo, size_t hi) {
        const size_t mid = lo + (hi - lo) / 2;
        return hi - lo == 1 ? x[lo] : tree(lo, mid) + tree(mid, hi);
      };
      reference[i] = tree(0, x.size());
    }
    bool order_shows = false;  // another order would have other bits
    for (size_t i = 0; i < reference.size(); ++i) {
      float serial = 0;
      for (int r = 0; r < size; ++r)
        serial += static_cast<float>(get(values(r, kCount, DType::f32), i, DType::f32));
      order_shows = order_shows || serial != reference[i];
    }
    EXPECT_EQ(order_shows, size > 2);
    run_all(size, [&](Comm& comm) {
      std::mt19937 random(static_cast<unsigned>(comm.rank()));
      const Bytes in = values(comm.rank(), kCount, DType::f32);
      for (int round = 0; round < 30; ++round) {
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 500));
        std::vector<float> out(kCount);
        comm.all_reduce({in.data(), kCount}, {out.data(), kCount}, DType::f32, Reduction::sum);
        ASSERT_EQ(std::memcmp(out.data(), reference.data(), out.size() * sizeof(float)), 0);
      }
    });
  }
}

TEST(LocalComm, NansZerosAndWrapping) {
  run_all(3, [](Comm& comm) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float in[3][3] = {{1, -0.0f, nan}, {nan, 0.0f, 2}, {3, -0.0f, 4}};
    float out[3];
    comm.all_reduce({in[comm.rank()], 3}, {out, 3}, DType::f32, Reduction::max);
    EXPECT_TRUE(std::isnan(out[0]));
    EXPECT_TRUE(out[1] == 0 && std::signbit(out[1]));
    EXPECT_TRUE(std::isnan(out[2]));
    int64_t most = std::numeric_limits<int64_t>::max();
    comm.all_reduce({&most, 1}, {&most, 1}, DType::i64, Reduction::sum);
    EXPECT_EQ(most, std::numeric_limits<int64_t>::max() - 2);  // 3 (2^63 - 1) modulo 2^64
  });
}

// The error that `body` raises in a group of 3, in every rank; the calls do not reach other ranks.
void expect_usage(const Body& body, const std::string& text) {
  auto group = make_local_group(3, 60);
  for (const std::string& error : run_ranks(group, body)) EXPECT_EQ(error, "usage: " + text);
}

TEST(LocalComm, ArgumentsAreChecked) {
  static float x[8];
  expect_usage(
      [](Comm& c) {
        c.all_reduce({x, 4}, {x, 3}, DType::f32, Reduction::sum);
      },
      "[all_reduce] the input has 4 elements and the output 3; they must be as many");
  expect_usage(
      [](Comm& c) {
        c.all_reduce({x, 4}, {x + 1, 4}, DType::f32, Reduction::sum);
      },
      "[all_reduce] input (4 elements) and output (4 elements) of f32 overlap by parts: "
      "the output starts 4 bytes behind the input");
  expect_usage(
      [](Comm& c) {
        c.all_reduce({x, 1}, {x, 1}, DType::i64, Reduction::mean);
      },
      "[all_reduce] there is no mean of i64: take the sum, or convert to a floating type");
  expect_usage(
      [](Comm& c) {
        c.all_reduce({x, 1}, {x, 1}, DType::u8, Reduction::max);
      },
      "[all_reduce] u8 is not sent among ranks: f32, f64, bf16, f16 and i64 are");
  expect_usage(
      [](Comm& c) {
        c.all_gather({x, 2}, {x, 8}, DType::f32);
      },
      "[all_gather] 3 ranks give 2 elements each, which the output of 8 cannot hold: it "
      "must have as many as all ranks give");
  expect_usage(
      [](Comm& c) {
        c.reduce_scatter({x, 7}, {x, 2}, DType::f32, Reduction::sum);
      },
      "[reduce_scatter] 3 ranks take 2 elements each of an input that has 7: it must have "
      "as many as all ranks take");
  expect_usage(
      [](Comm& c) {
        c.broadcast({x, 8}, DType::f32, 3);
      },
      "[broadcast] root 3 is out of range for a group of 3 (0 to 2)");
  expect_usage(
      [](Comm& c) {
        c.send({x, 8}, DType::f32, -1);
      },
      "[send] rank -1 is out of range for a group of 3 (0 to 2)");
  expect_usage(
      [](Comm& c) {
        c.recv({nullptr, 8}, DType::f32, 1);
      },
      "[recv] the output of 8 elements has no memory (null)");
  expect_usage(
      [](Comm& c) {
        c.recv({x, -2}, DType::f32, 1);
      },
      "[recv] the output has -2 elements");
  const auto message = [](auto&& body) {
    try {
      body();
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(message([] { make_local_group(0); }), "a group of 0 ranks: at least 1 is needed");
  EXPECT_EQ(message([] { make_local_group(2, -1); }),
            "a timeout of -1 s: it must be above 0 and at most 2592000 s");
  auto group = make_local_group(2);
  EXPECT_EQ(message([&] {
              group[1]->send({x, 1}, DType::f32, 1);
            }),
            "[send] rank 1 sends to itself; exchange() can");
}

// All ranks raise the same line.
void expect_failure(int size, double timeout, const Body& body, const std::string& text) {
  auto group = make_local_group(size, timeout);
  const auto errors = run_ranks(group, body);
  int failed = 0;
  for (const std::string& error : errors) {
    if (!error.empty()) EXPECT_EQ(error, text);
    failed += !error.empty();
  }
  EXPECT_GT(failed, 0);
  // The group stays unusable, and says why.
  for (const std::string& error : run_ranks(group, [](Comm& c) { c.barrier(); }))
    EXPECT_EQ(error, text);
}

TEST(LocalComm, RanksThatDisagreeAreNamed) {
  expect_failure(
      3, 60,
      [](Comm& c) {
        float x[4] = {};
        c.barrier();
        if (c.rank() == 2)
          c.all_reduce({x, 3}, {x, 3}, DType::f32, Reduction::sum);
        else
          c.all_reduce({x, 4}, {x, 4}, DType::f32, Reduction::sum);
      },
      "usage: [all_reduce] the ranks' collective 2 differs: rank 0 calls all_reduce(sum) of "
      "f32[4], rank 2 calls all_reduce(sum) of f32[3]");
  expect_failure(
      2, 60,
      [](Comm& c) {
        float x[2] = {};
        if (c.rank() == 0)
          c.send({x, 2}, DType::f32, 1);
        else
          c.recv({x, 1}, DType::i64, 0);
      },
      "usage: [recv] rank 0 sent f32[2] to rank 1, which expected i64[1]");
}

TEST(LocalComm, ARankThatDoesNotArriveIsNamed) {
  expect_failure(
      4, 1,
      [](Comm& c) {
        c.barrier();
        float x = 0;
        if (c.rank() != 2) c.all_reduce({&x, 1}, {&x, 1}, DType::f32, Reduction::max);
      },
      "resource: [all_reduce] rank 2 of 4 did not arrive within 1 s at collective 2, "
      "all_reduce(max) of f32[1]; its last collective was number 1, barrier");
  expect_failure(
      2, 0.1,
      [](Comm& c) {
        float x[2] = {};
        if (c.rank() == 1) c.recv({x, 2}, DType::bf16, 0);
      },
      "resource: [recv] rank 0 of 2 sent nothing to rank 1 within 0.1 s, which expected bf16[2]");
  expect_failure(
      2, 0.1,
      [](Comm& c) {
        float x[2] = {};
        if (c.rank() == 1) c.send({x, 2}, DType::f32, 0);
      },
      "resource: [send] rank 0 of 2 received nothing from rank 1 within 0.1 s, which has f32[2] "
      "for it");
}

// Nobody waits for the time to be up where the reason is known before.
TEST(LocalComm, LeavingAndGivingUpEndTheWaitOfOthers) {
  auto group = make_local_group(3, 600);
  const auto left = run_ranks(group, [&](Comm& c) {
    if (c.rank() == 1)
      group[1].reset();
    else
      c.barrier();
  });
  for (const int r : {0, 2})
    EXPECT_EQ(left[static_cast<size_t>(r)],
              "resource: [barrier] rank 1 of 3 has left the group; it has made no collective call "
              "yet");
  group = make_local_group(3, 600);
  const auto aborted = run_ranks(group, [&](Comm& c) {
    float x = 0;
    if (c.rank() == 0)
      c.abort("no space left on device");
    else if (c.rank() == 1)
      c.recv({&x, 1}, DType::f32, 2);
    else
      c.barrier();
  });
  for (const int r : {1, 2})
    EXPECT_EQ(aborted[static_cast<size_t>(r)],
              "resource: rank 0 of 3 gave up: no space left on device");
}

TEST(LocalComm, SaysWhatItIs) {
  const auto group = make_local_group(4);
  EXPECT_EQ(group[1]->describe(), "local, rank 1 of 4");
  EXPECT_EQ(group[1]->size(), 4);
  EXPECT_TRUE(group[1]->fixed_order());
}

}  // namespace
}  // namespace corten::comm
