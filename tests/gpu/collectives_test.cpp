// NCCL behind Comm without a GPU: the plug-in's code on functions of NCCL's interface that work on
// the host's memory, with the ranks of one process behind them. Like a communicator that does not
// block, they are in progress for a while after every call.
#ifdef CORTEN_TEST_NCCL
#include "cuda/plugin/collectives.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "base/format.h"
#include "comm/local.h"
#include "cuda/device_comm.h"
#include "cuda/load.h"
#include "gpu/cpu_device.h"

#if CORTEN_HAS_NCCL

using corten::DType;
using corten::comm::Comm;
using corten::comm::Reduction;

struct ncclComm {
  std::unique_ptr<Comm> ranks;
  int polls = 0;  // until what was asked for is done
};

namespace corten::cuda::test {
namespace {

// What the functions do, and what was asked of them.
struct StandIn {
  std::mutex mutex;
  std::map<std::string, std::vector<std::unique_ptr<Comm>>> groups;
  int ids = 0;
  std::atomic<int> aborted = 0, destroyed = 0, finalized = 0;
  std::string last_error;
  std::atomic<bool> never_ready = false;            // nothing that is in progress ends
  std::atomic<ncclResult_t> asked = ncclSuccess;    // of ncclSend
  std::atomic<ncclResult_t> noticed = ncclSuccess;  // of ncclCommGetAsyncError, later
};
StandIn* stand_in = nullptr;

struct Queued {
  corten::comm::CallKind kind;
  const void* from;
  void* to;
  int64_t count;
  DType dtype;
  Reduction reduction;
  int peer;
};
thread_local std::vector<Queued> queued;
thread_local ncclComm_t queued_on = nullptr;
thread_local bool in_group = false;

DType dtype_of(ncclDataType_t type) {
  switch (type) {
    case ncclFloat32:
      return DType::f32;
    case ncclFloat64:
      return DType::f64;
    case ncclBfloat16:
      return DType::bf16;
    case ncclFloat16:
      return DType::f16;
    case ncclInt64:
      return DType::i64;
    default:
      return DType::u8;  // which nobody sends
  }
}
Reduction reduction_of(ncclRedOp_t op) {
  return op == ncclMax ? Reduction::max : op == ncclAvg ? Reduction::mean : Reduction::sum;
}
ncclResult_t queue(ncclComm_t comm, Queued call) {
  if (!in_group) return ncclInvalidUsage;
  queued_on = comm;
  queued.push_back(call);
  return ncclInProgress;
}

Nccl functions() {
  using Kind = corten::comm::CallKind;
  Nccl n;
  n.ncclGetVersion_ = [](int* version) {
    *version = 22809;
    return ncclSuccess;
  };
  n.ncclGetUniqueId_ = [](ncclUniqueId* id) {
    std::memset(id, 0, sizeof *id);
    std::snprintf(id->internal, sizeof id->internal, "\xf7group %d", ++stand_in->ids);
    return ncclSuccess;
  };
  n.ncclCommInitRankConfig_ = [](ncclComm_t* comm, int size, ncclUniqueId id, int rank,
                                 ncclConfig_t* config) {
    if (config->blocking != 0) return ncclInvalidUsage;
    const std::scoped_lock lock(stand_in->mutex);
    auto& group = stand_in->groups[std::string(id.internal, sizeof id.internal)];
    if (group.empty()) group = corten::comm::make_local_group(size, 20);
    *comm = new ncclComm{std::move(group[static_cast<size_t>(rank)]), 3};
    return ncclInProgress;
  };
  n.ncclCommFinalize_ = [](ncclComm_t comm) {
    ++stand_in->finalized;
    comm->polls = 2;
    return ncclInProgress;
  };
  n.ncclCommDestroy_ = [](ncclComm_t comm) {
    ++stand_in->destroyed;
    delete comm;
    return ncclSuccess;
  };
  n.ncclCommAbort_ = [](ncclComm_t comm) {
    ++stand_in->aborted;
    delete comm;
    return ncclSuccess;
  };
  n.ncclGetErrorString_ = [](ncclResult_t result) {
    return result == ncclSystemError ? "unhandled system error" : "remote process exited";
  };
  n.ncclGetLastError_ = [](ncclComm_t) { return stand_in->last_error.c_str(); };
  n.ncclCommGetAsyncError_ = [](ncclComm_t comm, ncclResult_t* state) {
    *state = stand_in->never_ready || comm->polls-- > 0 ? ncclInProgress : stand_in->noticed.load();
    return ncclSuccess;
  };
  n.ncclAllReduce_ = [](const void* from, void* to, size_t count, ncclDataType_t type,
                        ncclRedOp_t op, ncclComm_t comm, cudaStream_t) {
    return queue(comm, {Kind::all_reduce, from, to, static_cast<int64_t>(count), dtype_of(type),
                        reduction_of(op), 0});
  };
  n.ncclAllGather_ = [](const void* from, void* to, size_t count, ncclDataType_t type,
                        ncclComm_t comm, cudaStream_t) {
    return queue(comm, {Kind::all_gather, from, to, static_cast<int64_t>(count), dtype_of(type),
                        Reduction::sum, 0});
  };
  n.ncclReduceScatter_ = [](const void* from, void* to, size_t count, ncclDataType_t type,
                            ncclRedOp_t op, ncclComm_t comm, cudaStream_t) {
    return queue(comm, {Kind::reduce_scatter, from, to, static_cast<int64_t>(count), dtype_of(type),
                        reduction_of(op), 0});
  };
  n.ncclBroadcast_ = [](const void* from, void* to, size_t count, ncclDataType_t type, int root,
                        ncclComm_t comm, cudaStream_t) {
    return queue(comm, {Kind::broadcast, from, to, static_cast<int64_t>(count), dtype_of(type),
                        Reduction::sum, root});
  };
  n.ncclSend_ = [](const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                   cudaStream_t) {
    if (stand_in->asked != ncclSuccess) return stand_in->asked.load();
    return queue(comm, {Kind::send, from, nullptr, static_cast<int64_t>(count), dtype_of(type),
                        Reduction::sum, peer});
  };
  n.ncclRecv_ = [](void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                   cudaStream_t) {
    return queue(comm, {Kind::recv, nullptr, to, static_cast<int64_t>(count), dtype_of(type),
                        Reduction::sum, peer});
  };
  n.ncclGroupStart_ = [] {
    queued.clear();
    in_group = true;
    return ncclSuccess;
  };
  n.ncclGroupEnd_ = [] {
    in_group = false;
    if (queued.empty()) return ncclSuccess;
    Comm& c = *queued_on->ranks;
    const Queued& q = queued[0];
    switch (q.kind) {
      case Kind::all_reduce:
        c.all_reduce({q.from, q.count}, {q.to, q.count}, q.dtype, q.reduction);
        break;
      case Kind::all_gather:
        c.all_gather({q.from, q.count}, {q.to, q.count * c.size()}, q.dtype);
        break;
      case Kind::reduce_scatter:
        c.reduce_scatter({q.from, q.count * c.size()}, {q.to, q.count}, q.dtype, q.reduction);
        break;
      case Kind::broadcast:
        c.broadcast({q.to, q.count}, q.dtype, q.peer);
        break;
      case Kind::send:
        if (queued.size() == 1)
          c.send({q.from, q.count}, q.dtype, q.peer);
        else
          c.exchange({q.from, q.count}, q.peer, {queued[1].to, queued[1].count}, queued[1].peer,
                     q.dtype);
        break;
      case Kind::recv:
        c.recv({q.to, q.count}, q.dtype, q.peer);
        break;
      case Kind::barrier:
        return ncclInternalError;
    }
    queued_on->polls = 4;
    return ncclInProgress;
  };
  return n;
}

class NcclGroup : public ::testing::Test {
 protected:
  NcclGroup() { stand_in = &state; }
  ~NcclGroup() override { stand_in = nullptr; }

  // A stream that is done with everything at its third look, or never.
  CommStream stream() {
    return {nullptr, [this, looks = 0](bool& done) mutable {
              done = !stuck && ++looks % 3 == 0;
              return Status();
            }};
  }
  std::unique_ptr<Comm> join(Device& device, const std::string& id, int rank, int size,
                             double timeout = 20) {
    std::unique_ptr<Collectives> collectives;
    const Status s = join_group(nccl, {id, rank, size, timeout}, stream(), collectives);
    if (!s.empty()) resource_error("{}", s);
    return make_device_comm(device, std::move(collectives), rank, size);
  }
  std::string id() {
    std::string text;
    EXPECT_EQ(new_group_id(nccl, text), "");
    return text;
  }
  static std::string fault(const std::function<void()>& body) {
    try {
      body();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::Resource);
      return e.what();
    }
    return "";
  }

  StandIn state;
  const Nccl nccl = functions();
  std::atomic<bool> stuck = false;
  CpuDevice device;
};

TEST_F(NcclGroup, EveryCallIsTheLocalGroups) {
  for (const int size : {1, 2, 3}) {
    const std::string group = id();
    EXPECT_EQ(group.substr(0, 4), "f767");
    EXPECT_EQ(group.size(), 256u);
    std::vector<std::thread> threads;
    for (int rank = 0; rank < size; ++rank)
      threads.emplace_back([&, rank] {
        CpuDevice own;
        const auto c = join(own, group, rank, size);
        EXPECT_EQ(c->describe(), format("NCCL 2.28.9 on this CPU, rank {} of {}", rank, size));
        EXPECT_FALSE(c->fixed_order());
        constexpr int64_t kCount = 5;
        const auto n = static_cast<size_t>(size);
        std::vector<int64_t> in(kCount), out(kCount), all(kCount * n), part(kCount);
        std::iota(in.begin(), in.end(), 100 * rank);
        c->all_reduce({in.data(), kCount}, {out.data(), kCount}, DType::i64, Reduction::sum);
        c->synchronize();
        for (int64_t i = 0; i < kCount; ++i)
          EXPECT_EQ(out[static_cast<size_t>(i)], size * i + 100 * size * (size - 1) / 2);
        c->all_reduce({in.data(), kCount}, {out.data(), kCount}, DType::i64, Reduction::max);
        EXPECT_EQ(out[1], 100 * (size - 1) + 1);
        std::vector<float> x(3, static_cast<float>(rank));
        c->all_reduce({x.data(), 3}, {x.data(), 3}, DType::f32, Reduction::mean);
        EXPECT_EQ(x[2], static_cast<float>(size - 1) / 2);
        for (const DType dtype : {DType::f64, DType::bf16, DType::f16}) {
          double zero[2] = {};  // is zero in all of them
          c->all_reduce({zero, 2}, {zero, 2}, dtype, Reduction::sum);
          EXPECT_EQ(zero[1], 0);
        }
        c->all_gather({in.data(), kCount}, {all.data(), kCount * size}, DType::i64);
        for (size_t i = 0; i < all.size(); ++i)
          EXPECT_EQ(all[i], static_cast<int64_t>(i / kCount * 100 + i % kCount));
        c->reduce_scatter({all.data(), kCount * size}, {part.data(), kCount}, DType::i64,
                          Reduction::sum);
        EXPECT_EQ(part[1], size * (100 * rank + 1));
        c->broadcast({part.data(), kCount}, DType::i64, size - 1);
        EXPECT_EQ(part[1], size * (100 * (size - 1) + 1));
        const int before = (rank + size - 1) % size;
        c->exchange({in.data(), kCount}, (rank + 1) % size, {out.data(), kCount}, before,
                    DType::i64);
        EXPECT_EQ(out[2], 100 * before + 2);
        if (rank > 0) c->recv({out.data(), kCount}, DType::i64, rank - 1);
        if (rank + 1 < size) c->send({in.data(), kCount}, DType::i64, rank + 1);
        c->barrier();
        c->all_reduce({nullptr, 0}, {nullptr, 0}, DType::f32, Reduction::sum);
      });
    for (std::thread& t : threads) t.join();
    EXPECT_EQ(state.destroyed, size);
    EXPECT_EQ(state.finalized, size);
    EXPECT_EQ(state.aborted, 0);
    state.destroyed = state.finalized = 0;
  }
}

TEST_F(NcclGroup, FailuresAreOneLineAndEndTheGroup) {
  const auto c = join(device, id(), 0, 1);
  float x = 0, y = 0;
  state.asked = ncclSystemError;
  state.last_error = "socketStartConnect: connect to 10.0.0.7<443> failed\nConnection refused\n";
  const std::string text =
      "[send] rank 0 of 1: unhandled system error (socketStartConnect: connect to "
      "10.0.0.7<443> failed Connection refused); the network or shared memory failed: "
      "NCCL_SOCKET_IFNAME names the network interface, and a container needs a larger /dev/shm "
      "(--shm-size=1g)";
  EXPECT_EQ(fault([&] { c->exchange({&x, 1}, 0, {&y, 1}, 0, DType::f32); }), text);
  EXPECT_EQ(state.aborted, 1);
  state.asked = ncclSuccess;
  EXPECT_EQ(fault([&] { c->synchronize(); }), text);
  EXPECT_EQ(fault([&] { c->barrier(); }), text);
  EXPECT_EQ(state.aborted, 1);
}

TEST_F(NcclGroup, WhatHappensToOtherRanksIsNoticedWhileWaiting) {
  const auto c = join(device, id(), 0, 1);
  float x = 0;
  c->all_reduce({&x, 1}, {&x, 1}, DType::f32, Reduction::sum);
  stuck = true;
  state.noticed = ncclRemoteError;
  EXPECT_EQ(fault([&] { c->synchronize(); }),
            "[all_reduce] rank 0 of 1: remote process exited; another rank ended "
            "or lost its connection: its own error says why");
  EXPECT_EQ(state.aborted, 1);
}

TEST_F(NcclGroup, NothingWaitsForEver) {
  const std::string missing =
      ": not done within 0.05 s: a rank is missing, ended or makes other calls; the last lines "
      "of the other ranks tell which, NCCL_DEBUG=INFO prints who is connected";
  {
    const auto c = join(device, id(), 0, 1, 0.05);
    stuck = true;
    EXPECT_EQ(fault([&] { c->synchronize(); }), "[join] rank 0 of 1" + missing);
    EXPECT_EQ(state.aborted, 1);
  }
  state.never_ready = true;
  EXPECT_EQ(fault([&] { join(device, id(), 1, 2, 0.05); }), "[join] rank 1 of 2" + missing);
  EXPECT_EQ(state.aborted, 2);
  EXPECT_EQ(state.destroyed, 0);
}

TEST_F(NcclGroup, AnotherThreadCanGiveUp) {
  const auto c = join(device, id(), 0, 1, 600);
  stuck = true;
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    c->abort("interrupted");
  });
  EXPECT_EQ(fault([&] { c->barrier(); }), "rank 0 of 1 gave up: interrupted");
  other.join();
  EXPECT_EQ(state.aborted, 1);
}

TEST_F(NcclGroup, AnIdMustBeOne) {
  EXPECT_EQ(fault([&] { join(device, "abc", 0, 1); }),
            "the id of a group has 256 hexadecimal digits (a-f are small letters); this one is of "
            "3 characters");
  EXPECT_NE(fault([&] { join(device, std::string(256, 'g'), 0, 1); }), "");
}

TEST_F(NcclGroup, DevicesWithoutItSaySo) {
  EXPECT_EQ(fault([&] { make_device_comm(device, id(), 0, 1); }),
            "device this CPU does not communicate with others");
}

// The library of this machine, if it has one: it may want a device, and says so in one line.
TEST(NcclLibrary, GivesAnIdOrSaysWhyNot) {
  std::string missing, group;
  Plugin* const plugin = find_plugin(missing);
  if (!plugin) GTEST_SKIP() << missing;
  const Status status = plugin->new_group_id(group);
  EXPECT_EQ(status.find('\n'), std::string::npos) << status;
  EXPECT_EQ(group.size(), status.empty() ? 256u : 0u) << status;
}

TEST(NcclLibrary, WithoutADeviceJoiningSaysSo) {
  std::string missing, group;
  Plugin* const plugin = find_plugin(missing);
  if (!plugin) GTEST_SKIP() << missing;
  if (plugin->driver().missing.empty()) GTEST_SKIP() << "there is a device";
  if (const Status s = cuda::new_group_id(group); !s.empty()) GTEST_SKIP() << s;
  std::unique_ptr<Collectives> collectives;
  const CommStream stream{nullptr, [](bool& done) {
                            done = true;
                            return Status();
                          }};
  const Status status = cuda::join_group({group, 0, 1, 20}, stream, collectives);
  EXPECT_EQ(collectives, nullptr);
  EXPECT_EQ(status.find("[join] rank 0 of 1: "), 0u) << status;
  EXPECT_NE(status.find("nvidia-smi"), std::string::npos) << status;
  EXPECT_EQ(status.find('\n'), std::string::npos) << status;
  RecordProperty("text", status);
}

}  // namespace
}  // namespace corten::cuda::test

#endif
#endif
