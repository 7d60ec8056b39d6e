#include "cuda/device_comm.h"

#include "base/format.h"
#include "cuda/load.h"

namespace corten::cuda {
namespace {

void raise(const Status& status) {
  if (!status.empty()) resource_error("{}", status);
}

class DeviceComm final : public comm::Comm {
 public:
  DeviceComm(Device& device, std::unique_ptr<Collectives> collectives, int rank, int size)
      : Comm(rank, size), device_(device), collectives_(std::move(collectives)) {}
  ~DeviceComm() override {
    collectives_.reset();
    if (word_) device_.release(word_);
  }
  std::string describe() const override {
    return format("{} on {}, rank {} of {}", collectives_->version(), device_.info().name, rank(),
                  size());
  }
  bool fixed_order() const override { return false; }
  void synchronize() override { raise(collectives_->synchronize()); }
  void abort(const std::string& reason) override {
    collectives_->abort(format("rank {} of {} gave up: {}", rank(), size(), reason));
  }

 protected:
  void run(std::span<const comm::Call> together) override {
    if (together[0].kind == comm::CallKind::barrier) return meet();
    // All ranks have as many elements.
    std::vector<comm::Call> calls;
    for (const comm::Call& call : together)
      if (call.count > 0) calls.push_back(call);
    if (!calls.empty()) raise(collectives_->run(calls));
  }

 private:
  // NCCL has no barrier: nobody has the sum of one word before all have given theirs.
  void meet() {
    if (!word_) {
      raise(device_.allocate(sizeof(float), word_));
      raise(device_.fill(word_, 0, sizeof(float)));
    }
    void* const word = reinterpret_cast<void*>(word_);
    const comm::Call call{
        comm::CallKind::all_reduce, DType::f32, comm::Reduction::sum, 0, word, word, 1};
    raise(collectives_->run({&call, 1}));
    raise(collectives_->synchronize());
  }

  Device& device_;
  std::unique_ptr<Collectives> collectives_;
  uint64_t word_ = 0;
};

}  // namespace

std::string new_group_id() {
  std::string id;
  raise(plugin().new_group_id(id));
  return id;
}

std::unique_ptr<comm::Comm> make_device_comm(Device& device, const std::string& id, int rank,
                                             int size, double timeout_seconds) {
  comm::check_group(rank, size);
  comm::check_timeout(timeout_seconds);
  std::unique_ptr<Collectives> collectives;
  raise(device.join_group({id, rank, size, timeout_seconds}, collectives));
  return make_device_comm(device, std::move(collectives), rank, size);
}

std::unique_ptr<comm::Comm> make_device_comm(Device& device,
                                             std::unique_ptr<Collectives> collectives, int rank,
                                             int size) {
  return std::make_unique<DeviceComm>(device, std::move(collectives), rank, size);
}

}  // namespace corten::cuda
