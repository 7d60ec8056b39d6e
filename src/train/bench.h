// Measurements of training, generation and single ops on synthetic data.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "corten/dtype.h"
#include "corten/quantize.h"

namespace corten::runtime {
class DeviceState;
}

namespace corten {

struct BenchTrainOptions {
  std::string model = "gpt2";  ///< a preset, or a folder with a config.json
  std::optional<int64_t> layers;
  int64_t batch = 4, seq = 256, steps = 10;
  int64_t virtual_shards = 1;
  int64_t memory_budget = 0;  ///< bytes the step may use; 0: no limit
  DType dtype = DType::f32;
  bool float8 = false;  ///< as train.float8
  bool compile = true;
  std::string device = "cpu";
  int64_t threads = 0;
  int64_t seed = 1;
};

/// Where the time of a step on a GPU goes, by the device's clock.
struct DeviceStepTimes {
  double step_ms = 0;  ///< the launch of the whole step: median of ten, nothing waits in between
  double copy_bytes_per_s = 0;  ///< bytes that a large copy reads and writes per second
  /// In one launch of the step that is traced: what kernels and copies take together, and the time
  /// from the first's start to the last's end. Their ratio is 1 if the device never waits.
  double busy_ms = 0, wall_ms = 0;
  bool traced = false;  ///< false: by events between launches one by one, gaps included
  std::string note;     ///< why it was not traced, or is no launch of a graph
  int64_t launches = 0, groups = 0, products = 0;  ///< of kernels, joined ones, library calls
  double make_ms = 0, kernels_ms = 0;  ///< to make the program; to compile or load its kernels
  struct Family {
    std::string name;  ///< what the steps are for
    int64_t steps = 0, launches = 0, bytes = 0;
    double flops = 0;
    double ms = 0;
    double floor_ms = 0;  ///< that its bytes or FLOPs need at the measured ceilings
  };
  std::vector<Family> families;  ///< the longest first
};

struct BenchTrainResult {
  std::string model;
  int64_t params = 0;
  std::string device;  ///< "cpu" or the GPU's name
  int64_t threads = 0;
  DType dtype = DType::f32;
  bool compiled = true;
  int64_t batch = 0, seq = 0, steps = 0;
  double step_ms_median = 0, step_ms_min = 0, step_ms_max = 0;
  double tokens_per_s = 0;
  /// Unpadded matrix products and the causal half of attention, forward and backward; nothing that
  /// is recomputed.
  double flops_per_step = 0;
  double peak_flops = 0;      ///< FLOP/s measured in this process
  std::optional<double> mfu;  ///< against the theoretical peak; unset if that is unknown
  double mfu_measured = 0;    ///< against peak_flops
  uint64_t peak_bytes = 0;    ///< highest bytes really touched
  uint64_t planned_peak_bytes = 0;
  uint64_t rss_peak_bytes = 0, rss_start_bytes = 0;
  double compile_ms = 0;
  double first_step_ms = 0;  ///< from process start to the end of the first step
  std::optional<DeviceStepTimes> on_device;  ///< of a GPU
  float loss_first = 0, loss_last = 0;
  std::string digest;  ///< losses_digest() of all losses
};

/// Trains on random tokens, without dropout and clipping: AdamW at a learning rate of 1e-4. Two
/// steps before those that are measured trace and compile. `on_step` hears of every measured step
/// (1-based) and its milliseconds. The digest covers all of them.
BenchTrainResult bench_train(const BenchTrainOptions& options,
                             const std::function<void(int64_t step, double ms)>& on_step = {});

struct BenchGenerateOptions {
  std::string model = "gpt2";  ///< a folder, or a preset or a config.json alone (random weights)
  int64_t prompt_tokens = 128, new_tokens = 64, batch = 1;
  std::optional<DType> dtype;
  std::optional<Quantization> quantization;  ///< of float weights, as they are loaded
  std::string device = "cpu";
  int64_t threads = 0;
  int64_t seed = 1;
  /// What the device "cuda" means; empty: the first CUDA device.
  std::function<std::unique_ptr<runtime::DeviceState>()> cuda_device;
};

struct BenchGenerateResult {
  double prefill_tokens_per_s = 0, decode_tokens_per_s = 0;
  uint64_t weight_bytes = 0;
  uint64_t read_bytes = 0;        ///< weights that a token reads: all but tables that rows are looked up in
  /// Bytes per second that the threads read from memory, measured between the tokens; on a device: that
  /// copies read and write there.
  double read_bandwidth = 0;
  double bandwidth_fraction = 0;  ///< read bytes per second of decoding / memory bandwidth
  uint64_t peak_bytes = 0;
  double load_ms = 0;
  double first_token_ms = 0;  ///< from process start to the logits after the prompt
};

BenchGenerateResult bench_generate(const BenchGenerateOptions& options);

struct BenchOpOptions {
  std::string op;                   ///< as in corten/ops.h: "softmax", "matmul", ...
  std::vector<std::string> shapes;  ///< "1024x768", one per operand or one for all
  DType dtype = DType::f32;
  std::string device = "cpu";
  int64_t threads = 0;
  int64_t seed = 1;
};

struct BenchOpResult {
  double ms_median = 0, ms_min = 0;
  double gbytes_per_s = 0, gflops_per_s = 0;
  double floor_ms = 0;  ///< time that the bytes or the FLOPs need at the measured peak
  double copy_gbytes_per_s = 0;   ///< best rate of copies past the caches, measured in between
  double bandwidth_fraction = 0;  ///< of the rate of the copy beside each run: the median
  double peak_bytes = 0;          ///< operands, results and what lies between them
};

BenchOpResult bench_op(const BenchOpOptions& options);

}  // namespace corten
