#include "cuda/plugin/collectives.h"

#if CORTEN_HAS_NCCL

#include <atomic>
#include <chrono>
#include <cstring>
#include <mutex>
#include <thread>

#include "cuda/plugin/library.h"

namespace corten::cuda {
namespace {

using Clock = std::chrono::steady_clock;

Nccl load() {
  Nccl n;
  const Library library({"libnccl.so.2", "libnccl.so"});
  if (!library) {
    n.missing =
        "no NCCL: libnccl.so.2 was not found; install it (NVIDIA's package libnccl2) or set "
        "CUDA_HOME to where it is";
    return n;
  }
#define CORTEN_X(name)                                      \
  if (!library.find(n.name##_, #name) && n.missing.empty()) \
    n.missing = library.path() + " has no " #name "; install NCCL 2.14 or newer";
  CORTEN_NCCL_FUNCTIONS(CORTEN_X)
#undef CORTEN_X
  return n;
}

// What to do about a failure.
const char* advice(ncclResult_t result) {
  switch (result) {
    case ncclUnhandledCudaError:
      return "a CUDA call failed within NCCL: see what nvidia-smi says, and give every rank a "
             "device of its own (CUDA_VISIBLE_DEVICES)";
    case ncclSystemError:
      return "the network or shared memory failed: NCCL_SOCKET_IFNAME names the network interface, "
             "and a container needs a larger /dev/shm (--shm-size=1g)";
    case ncclInternalError:
      return "NCCL_DEBUG=WARN prints more; another version of NCCL may help";
    case ncclInvalidArgument:
    case ncclInvalidUsage:
      return "every rank needs a device of its own, its own number, and the id and size that the "
             "others have";
    case ncclRemoteError:
      return "another rank ended or lost its connection: its own error says why";
    default:
      return "NCCL_DEBUG=WARN prints more";
  }
}

std::string one_line(const char* text) {
  std::string line = text ? text : "";
  for (char& c : line)
    if (c == '\n' || c == '\r') c = ' ';
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

Status failure(const Nccl& n, const std::string& what, ncclResult_t result, ncclComm_t comm) {
  const std::string last = one_line(n.ncclGetLastError_(comm));
  return what + ": " + n.ncclGetErrorString_(result) + (last.empty() ? "" : " (" + last + ")") +
         "; " + advice(result);
}

bool is_error(ncclResult_t result) {
  return result != ncclSuccess && result != ncclInProgress;
}

std::string to_hex(const ncclUniqueId& id) {
  std::string out;
  for (const char c : id.internal) {
    const auto byte = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}
bool from_hex(const std::string& text, ncclUniqueId& id) {
  if (text.size() != 2 * sizeof id.internal) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char* const digits = "0123456789abcdef";
    const char* const digit = text[i] ? std::strchr(digits, text[i]) : nullptr;
    if (!digit) return false;
    const auto value = static_cast<unsigned>(digit - digits);
    char& byte = id.internal[i / 2];
    byte = static_cast<char>(i % 2 ? static_cast<unsigned char>(byte) | value : value << 4);
  }
  return true;
}

ncclDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return ncclFloat64;
    case DType::bf16:
      return ncclBfloat16;
    case DType::f16:
      return ncclFloat16;
    case DType::i64:
      return ncclInt64;
    default:
      return ncclFloat32;
  }
}
ncclRedOp_t operation(comm::Reduction reduction) {
  switch (reduction) {
    case comm::Reduction::max:
      return ncclMax;
    case comm::Reduction::mean:
      return ncclAvg;
    default:
      return ncclSum;
  }
}
const char* name(comm::CallKind kind) {
  switch (kind) {
    case comm::CallKind::all_reduce:
      return "all_reduce";
    case comm::CallKind::all_gather:
      return "all_gather";
    case comm::CallKind::reduce_scatter:
      return "reduce_scatter";
    case comm::CallKind::broadcast:
      return "broadcast";
    case comm::CallKind::send:
      return "send";
    case comm::CallKind::recv:
      return "recv";
    case comm::CallKind::barrier:
      return "barrier";
  }
  return "?";
}

// The communicator is one that does not block: whatever NCCL waits for is waited for here, with an
// eye on the time and on abort(). Only its own thread calls NCCL.
class NcclGroup final : public Collectives {
 public:
  NcclGroup(const Nccl& nccl, const GroupPlace& place, CommStream stream)
      : n_(nccl), place_(place), stream_(std::move(stream)) {
    int number = 0;
    n_.ncclGetVersion_(&number);
    version_ = "NCCL " + std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) +
               "." + std::to_string(number % 100);
  }
  ~NcclGroup() override {
    if (!comm_) return;
    what_ = "leave";
    if (stream_.enter) stream_.enter();
    const ncclResult_t result = n_.ncclCommFinalize_(comm_);
    if (settle(result).empty()) n_.ncclCommDestroy_(comm_);
  }

  Status join() {
    ncclUniqueId id;
    if (!from_hex(place_.id, id))
      return "the id of a group has " + std::to_string(2 * sizeof id.internal) +
             " hexadecimal digits (a-f are small letters); this one is of " +
             std::to_string(place_.id.size()) + " characters";
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    const ncclResult_t result =
        n_.ncclCommInitRankConfig_(&comm_, place_.size, id, place_.rank, &config);
    if (!comm_ && is_error(result)) return failed_ = failed(result, nullptr);
    return settle(result);
  }

  std::string version() const override { return version_; }

  Status run(std::span<const comm::Call> together) override {
    if (Status s = usable(); !s.empty()) return s;
    what_ = name(together[0].kind);
    if (stream_.enter)
      if (Status s = stream_.enter(); !s.empty()) return s;
    ncclResult_t result = n_.ncclGroupStart_();
    for (const comm::Call& call : together)
      if (!is_error(result)) result = ask(call);
    const ncclResult_t ended = n_.ncclGroupEnd_();
    return settle(is_error(result) ? result : ended);
  }

  Status synchronize() override {
    if (Status s = usable(); !s.empty()) return s;
    return wait([&](bool& done) {
      bool ready = false;
      Status s = stream_.finished(done);
      return s.empty() && !done ? look(ready) : s;
    });
  }

  void abort(const std::string& reason) override {
    const std::scoped_lock lock(mutex_);
    if (reason_.empty()) reason_ = reason;
    given_up_ = true;
  }

 private:
  ncclResult_t ask(const comm::Call& c) {
    const auto count = static_cast<size_t>(c.count);
    const ncclDataType_t type = data_type(c.dtype);
    const auto stream = static_cast<cudaStream_t>(stream_.handle);
    switch (c.kind) {
      case comm::CallKind::all_reduce:
        return n_.ncclAllReduce_(c.from, c.to, count, type, operation(c.reduction), comm_, stream);
      case comm::CallKind::all_gather:
        return n_.ncclAllGather_(c.from, c.to, count, type, comm_, stream);
      case comm::CallKind::reduce_scatter:
        return n_.ncclReduceScatter_(c.from, c.to, count, type, operation(c.reduction), comm_,
                                     stream);
      case comm::CallKind::broadcast:
        return n_.ncclBroadcast_(c.from, c.to, count, type, c.peer, comm_, stream);
      case comm::CallKind::send:
        return n_.ncclSend_(c.from, count, type, c.peer, comm_, stream);
      case comm::CallKind::recv:
        return n_.ncclRecv_(c.to, count, type, c.peer, comm_, stream);
      case comm::CallKind::barrier:
        break;
    }
    return ncclInvalidArgument;
  }

  // Of a call to NCCL: waits until it is no longer in progress.
  Status settle(ncclResult_t result) {
    if (is_error(result)) return end(failed(result, comm_));
    if (result == ncclSuccess) return "";
    return wait([&](bool& done) { return look(done); });
  }
  // At what NCCL does meanwhile.
  Status look(bool& done) const {
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = n_.ncclCommGetAsyncError_(comm_, &state);
    if (is_error(asked)) state = asked;
    done = state == ncclSuccess;
    return is_error(state) ? failed(state, comm_) : "";
  }
  Status failed(ncclResult_t result, ncclComm_t comm) const {
    return failure(n_, place(), result, comm);
  }

  template <typename Look>
  Status wait(const Look& finished) {
    const auto start = Clock::now();
    for (;;) {
      bool done = false;
      if (Status s = finished(done); !s.empty()) return end(s);
      if (done) return "";
      if (Status s = usable(); !s.empty()) return s;
      const auto waited = Clock::now() - start;
      if (std::chrono::duration<double>(waited).count() > place_.timeout_seconds)
        return end(place() + ": not done within " + seconds() +
                   " s: a rank is missing, ended or makes other calls; the last lines of the other "
                   "ranks tell which, NCCL_DEBUG=INFO prints who is connected");
      // Short waits are the rule: a step's worth of them must not cost a sleep each.
      if (waited < std::chrono::milliseconds(2))
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }

  Status usable() {
    if (failed_.empty() && given_up_) {
      const std::scoped_lock lock(mutex_);
      return end(reason_);
    }
    return failed_;
  }
  Status end(Status why) {
    failed_ = std::move(why);
    if (comm_) n_.ncclCommAbort_(comm_);
    comm_ = nullptr;
    return failed_;
  }
  std::string place() const {
    return "[" + what_ + "] rank " + std::to_string(place_.rank) + " of " +
           std::to_string(place_.size);
  }
  std::string seconds() const {
    std::string text = std::to_string(place_.timeout_seconds);
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
    return text;
  }

  const Nccl& n_;
  const GroupPlace place_;
  CommStream stream_;
  std::string version_, what_ = "join";
  ncclComm_t comm_ = nullptr;
  Status failed_;
  std::mutex mutex_;
  std::string reason_;
  std::atomic<bool> given_up_ = false;
};

}  // namespace

const Nccl& nccl() {
  static const auto* instance = new Nccl(load());
  return *instance;
}

Status new_group_id(const Nccl& n, std::string& id) {
  if (!n.missing.empty()) return n.missing;
  ncclUniqueId unique;
  const ncclResult_t result = n.ncclGetUniqueId_(&unique);
  if (result != ncclSuccess) return failure(n, "ncclGetUniqueId", result, nullptr);
  id = to_hex(unique);
  return "";
}
Status join_group(const Nccl& n, const GroupPlace& place, CommStream stream,
                  std::unique_ptr<Collectives>& out) {
  if (!n.missing.empty()) return n.missing;
  auto group = std::make_unique<NcclGroup>(n, place, std::move(stream));
  Status status = group->join();
  if (status.empty()) out = std::move(group);
  return status;
}

Status new_group_id(std::string& id) {
  return new_group_id(nccl(), id);
}
Status join_group(const GroupPlace& place, CommStream stream, std::unique_ptr<Collectives>& out) {
  return join_group(nccl(), place, std::move(stream), out);
}

}  // namespace corten::cuda

#else

namespace corten::cuda {

Status new_group_id(std::string&) {
  return "built without NCCL: nccl.h was not found; install NCCL (NVIDIA's package libnccl-dev) "
         "and "
         "build again";
}
Status join_group(const GroupPlace&, CommStream, std::unique_ptr<Collectives>&) {
  std::string none;
  return new_group_id(none);
}

}  // namespace corten::cuda

#endif
