#include "cuda/plugin/convolutions.h"

#if __has_include(<cudnn.h>)

#include <cudnn.h>

#include <climits>
#include <cstring>

#include "cuda/plugin/driver.h"
#include "cuda/plugin/library.h"

namespace corten::cuda {
namespace {

// The functions that name an algorithm: their choice can be stored, and their algorithms' names say
// which of them are deterministic.
#define CORTEN_CUDNN_FUNCTIONS(X)                                                                  \
  X(cudnnGetVersion)                                                                               \
  X(cudnnGetErrorString) X(cudnnCreate) X(cudnnDestroy) X(cudnnSetStream) X(                       \
      cudnnCreateTensorDescriptor) X(cudnnDestroyTensorDescriptor) X(cudnnSetTensor4dDescriptor)   \
      X(cudnnCreateFilterDescriptor) X(cudnnDestroyFilterDescriptor) X(cudnnSetFilter4dDescriptor) \
          X(cudnnCreateConvolutionDescriptor) X(cudnnDestroyConvolutionDescriptor)                 \
              X(cudnnSetConvolution2dDescriptor) X(cudnnSetConvolutionGroupCount)                  \
                  X(cudnnSetConvolutionMathType) X(cudnnGetConvolutionForwardAlgorithm_v7)         \
                      X(cudnnConvolutionForward) X(cudnnGetConvolutionBackwardDataAlgorithm_v7)    \
                          X(cudnnConvolutionBackwardData)                                          \
                              X(cudnnGetConvolutionBackwardFilterAlgorithm_v7)                     \
                                  X(cudnnConvolutionBackwardFilter)                                \
                                      X(cudnnGetConvolutionForwardWorkspaceSize)                   \
                                          X(cudnnGetConvolutionBackwardDataWorkspaceSize)          \
                                              X(cudnnGetConvolutionBackwardFilterWorkspaceSize)

struct Functions {
#define CORTEN_X(name) decltype(&::name) name##_ = nullptr;
  CORTEN_CUDNN_FUNCTIONS(CORTEN_X)
#undef CORTEN_X
  std::string missing, path;
  Functions() {
    const Library library({"libcudnn.so.9", "libcudnn.so"});
    path = library.path();
    if (!library) {
      missing =
          "no cuDNN: libcudnn.so.9, which convolutions need, was not found; install it (NVIDIA's "
          "package cudnn9-cuda-13 or cudnn9-cuda-12) or set CUDA_HOME to where it is";
      return;
    }
#define CORTEN_X(name)                                  \
  if (!library.find(name##_, #name) && missing.empty()) \
    missing = library.path() + " has no " #name "; install cuDNN 9";
    CORTEN_CUDNN_FUNCTIONS(CORTEN_X)
#undef CORTEN_X
  }
  Status check(cudnnStatus_t status, const char* what) const {
    return status == CUDNN_STATUS_SUCCESS ? ""
                                          : std::string(what) + ": " + cudnnGetErrorString_(status);
  }
};

const Functions& functions() {
  static const auto* instance = new Functions;
  return *instance;
}

// What is stored of a choice.
struct Algorithm {
  int32_t number = 0, math = 0;
};

// Descriptors of a convolution, made for one call: they are small structures of the host.
struct Descriptors {
  const Functions& f = functions();
  cudnnTensorDescriptor_t x = nullptr, y = nullptr;
  cudnnFilterDescriptor_t w = nullptr;
  cudnnConvolutionDescriptor_t convolution = nullptr;
  Status status;

  Descriptors(const Convolution& c, cudnnMathType_t math) {
    const cudnnDataType_t type = c.type == ProductType::bf16  ? CUDNN_DATA_BFLOAT16
                                 : c.type == ProductType::f16 ? CUDNN_DATA_HALF
                                                              : CUDNN_DATA_FLOAT;
    for (int64_t n :
         {c.images, c.channels, c.size[0], c.size[1], c.filters, c.kernel[0], c.kernel[1],
          c.stride[0], c.stride[1], c.padding[0], c.padding[1], c.dilation[0], c.dilation[1]})
      if (n > INT_MAX) {
        status = "a convolution with a size of " + std::to_string(n) + ": too large for cuDNN";
        return;
      }
    const auto keep = [&](cudnnStatus_t s, const char* what) {
      if (status.empty()) status = f.check(s, what);
    };
    const auto n = [](int64_t value) { return static_cast<int>(value); };
    keep(f.cudnnCreateTensorDescriptor_(&x), "cudnnCreateTensorDescriptor");
    keep(f.cudnnCreateTensorDescriptor_(&y), "cudnnCreateTensorDescriptor");
    keep(f.cudnnCreateFilterDescriptor_(&w), "cudnnCreateFilterDescriptor");
    keep(f.cudnnCreateConvolutionDescriptor_(&convolution), "cudnnCreateConvolutionDescriptor");
    if (!status.empty()) return;
    keep(f.cudnnSetTensor4dDescriptor_(x, CUDNN_TENSOR_NCHW, type, n(c.images), n(c.channels),
                                       n(c.size[0]), n(c.size[1])),
         "cudnnSetTensor4dDescriptor");
    keep(f.cudnnSetTensor4dDescriptor_(y, CUDNN_TENSOR_NCHW, type, n(c.images), n(c.filters),
                                       n(c.out[0]), n(c.out[1])),
         "cudnnSetTensor4dDescriptor");
    keep(f.cudnnSetFilter4dDescriptor_(w, type, CUDNN_TENSOR_NCHW, n(c.filters),
                                       n(c.channels / c.groups), n(c.kernel[0]), n(c.kernel[1])),
         "cudnnSetFilter4dDescriptor");
    keep(f.cudnnSetConvolution2dDescriptor_(
             convolution, n(c.padding[0]), n(c.padding[1]), n(c.stride[0]), n(c.stride[1]),
             n(c.dilation[0]), n(c.dilation[1]), CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
         "cudnnSetConvolution2dDescriptor");
    keep(f.cudnnSetConvolutionGroupCount_(convolution, n(c.groups)),
         "cudnnSetConvolutionGroupCount");
    keep(f.cudnnSetConvolutionMathType_(convolution, math), "cudnnSetConvolutionMathType");
  }
  ~Descriptors() {
    if (x) f.cudnnDestroyTensorDescriptor_(x);
    if (y) f.cudnnDestroyTensorDescriptor_(y);
    if (w) f.cudnnDestroyFilterDescriptor_(w);
    if (convolution) f.cudnnDestroyConvolutionDescriptor_(convolution);
  }
};

// Tensor cores round operands of float32 to tf32: for these, only where that was asked for.
cudnnMathType_t math_of(const Convolution& c) {
  return c.type == ProductType::f32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
}

class DnnConvolutions final : public Convolutions {
 public:
  explicit DnnConvolutions(cudnnHandle_t handle) : handle_(handle) {}

  std::string version() const override {
    return "cuDNN " + std::to_string(functions().cudnnGetVersion_());
  }

  // The first that the library proposes of those that are deterministic and multiply: transforms
  // (Winograd, FFT) round more, by how the image is cut.
  Status plan(const Convolution& c, int64_t max_workspace, ProductPlan& plan) override {
    const Functions& f = functions();
    const Descriptors d(c, math_of(c));
    if (!d.status.empty()) return d.status;
    switch (c.kind) {
      case Convolution::Kind::forward: {
        cudnnConvolutionFwdAlgoPerf_t found[CUDNN_CONVOLUTION_FWD_ALGO_COUNT];
        int count = 0;
        Status s = f.check(f.cudnnGetConvolutionForwardAlgorithm_v7_(
                               handle_, d.x, d.w, d.convolution, d.y,
                               CUDNN_CONVOLUTION_FWD_ALGO_COUNT, &count, found),
                           "cudnnGetConvolutionForwardAlgorithm");
        if (!s.empty()) return s;
        return choose(c, found, count,
                      {CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
                       CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_GEMM},
                      max_workspace, plan,
                      [&](const Descriptors& with, auto algorithm, size_t& bytes) {
                        return f.cudnnGetConvolutionForwardWorkspaceSize_(
                            handle_, with.x, with.w, with.convolution, with.y, algorithm, &bytes);
                      });
      }
      case Convolution::Kind::data_gradient: {
        cudnnConvolutionBwdDataAlgoPerf_t found[CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT];
        int count = 0;
        Status s = f.check(f.cudnnGetConvolutionBackwardDataAlgorithm_v7_(
                               handle_, d.w, d.y, d.convolution, d.x,
                               CUDNN_CONVOLUTION_BWD_DATA_ALGO_COUNT, &count, found),
                           "cudnnGetConvolutionBackwardDataAlgorithm");
        if (!s.empty()) return s;
        return choose(c, found, count, {CUDNN_CONVOLUTION_BWD_DATA_ALGO_1}, max_workspace, plan,
                      [&](const Descriptors& with, auto algorithm, size_t& bytes) {
                        return f.cudnnGetConvolutionBackwardDataWorkspaceSize_(
                            handle_, with.w, with.y, with.convolution, with.x, algorithm, &bytes);
                      });
      }
      case Convolution::Kind::weight_gradient: {
        cudnnConvolutionBwdFilterAlgoPerf_t found[CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT];
        int count = 0;
        Status s = f.check(f.cudnnGetConvolutionBackwardFilterAlgorithm_v7_(
                               handle_, d.x, d.y, d.convolution, d.w,
                               CUDNN_CONVOLUTION_BWD_FILTER_ALGO_COUNT, &count, found),
                           "cudnnGetConvolutionBackwardFilterAlgorithm");
        if (!s.empty()) return s;
        return choose(c, found, count, {CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1}, max_workspace, plan,
                      [&](const Descriptors& with, auto algorithm, size_t& bytes) {
                        return f.cudnnGetConvolutionBackwardFilterWorkspaceSize_(
                            handle_, with.x, with.y, with.convolution, with.w, algorithm, &bytes);
                      });
      }
    }
    return "";
  }

  Status run(const Convolution& c, const ProductPlan& plan, uint64_t a, uint64_t b, uint64_t to,
             uint64_t workspace) override {
    const Functions& f = functions();
    Algorithm algorithm;
    if (plan.algorithm.size() != sizeof algorithm)
      return "a convolution's algorithm is of another version of cuDNN";
    std::memcpy(&algorithm, plan.algorithm.data(), sizeof algorithm);
    const Descriptors d(c, static_cast<cudnnMathType_t>(algorithm.math));
    if (!d.status.empty()) return d.status;
    const float one = 1, zero = 0;
    const auto address = [](uint64_t x) { return reinterpret_cast<void*>(x); };
    const auto bytes = static_cast<size_t>(plan.workspace_bytes);
    switch (c.kind) {
      case Convolution::Kind::forward:
        return f.check(f.cudnnConvolutionForward_(
                           handle_, &one, d.x, address(a), d.w, address(b), d.convolution,
                           static_cast<cudnnConvolutionFwdAlgo_t>(algorithm.number),
                           address(workspace), bytes, &zero, d.y, address(to)),
                       "cudnnConvolutionForward");
      case Convolution::Kind::data_gradient:
        return f.check(f.cudnnConvolutionBackwardData_(
                           handle_, &one, d.w, address(b), d.y, address(a), d.convolution,
                           static_cast<cudnnConvolutionBwdDataAlgo_t>(algorithm.number),
                           address(workspace), bytes, &zero, d.x, address(to)),
                       "cudnnConvolutionBackwardData");
      case Convolution::Kind::weight_gradient:
        return f.check(f.cudnnConvolutionBackwardFilter_(
                           handle_, &one, d.x, address(a), d.y, address(b), d.convolution,
                           static_cast<cudnnConvolutionBwdFilterAlgo_t>(algorithm.number),
                           address(workspace), bytes, &zero, d.w, address(to)),
                       "cudnnConvolutionBackwardFilter");
    }
    return "";
  }

 private:
  template <typename Perf, typename WorkspaceSize>
  Status choose(const Convolution& c, const Perf* found, int count,
                std::initializer_list<decltype(Perf::algo)> wanted, int64_t max_workspace,
                ProductPlan& plan, WorkspaceSize&& workspace_size) {
    for (int i = 0; i < count; ++i) {
      const Perf& p = found[i];
      bool is_wanted = false;
      for (const auto algo : wanted) is_wanted |= algo == p.algo;
      if (!is_wanted || p.status != CUDNN_STATUS_SUCCESS || p.determinism != CUDNN_DETERMINISTIC)
        continue;
      // What is reported may be the default, which lets tensor cores take float32 operands.
      const cudnnMathType_t math = c.type == ProductType::f32 ? CUDNN_FMA_MATH : p.mathType;
      const Descriptors with(c, math);
      size_t bytes = 0;
      if (!with.status.empty() || workspace_size(with, p.algo, bytes) != CUDNN_STATUS_SUCCESS ||
          bytes > static_cast<size_t>(max_workspace))
        continue;
      const Algorithm chosen{static_cast<int32_t>(p.algo), static_cast<int32_t>(math)};
      plan.algorithm.assign(reinterpret_cast<const char*>(&chosen), sizeof chosen);
      plan.workspace_bytes = static_cast<int64_t>(bytes);
      return "";
    }
    const auto pair = [](const int64_t(&sizes)[2]) {
      return std::to_string(sizes[0]) + " x " + std::to_string(sizes[1]);
    };
    return "cuDNN has no deterministic algorithm for a convolution of " + std::to_string(c.images) +
           " images of " + std::to_string(c.channels) + " x " + pair(c.size) + " with " +
           std::to_string(c.filters) + " kernels of " + pair(c.kernel) + " in " +
           std::to_string(c.groups) + " groups";
  }

  cudnnHandle_t handle_;  // lives as long as the process, as that of products
};

}  // namespace

Status make_convolutions(CUstream stream, std::unique_ptr<Convolutions>& out) {
  const Functions& f = functions();
  if (!f.missing.empty()) return f.missing;
  cudnnHandle_t handle = nullptr;
  if (Status s = f.check(f.cudnnCreate_(&handle), "cudnnCreate"); !s.empty())
    return s + " (cuDNN " + std::to_string(f.cudnnGetVersion_()) + " in " + f.path + ", " +
           driver_text(driver().version) +
           "); it must be built for the driver's CUDA or an older one: install a newer NVIDIA "
           "driver, or cudnn9-cuda-12 for one of CUDA 12";
  if (Status s = f.check(f.cudnnSetStream_(handle, reinterpret_cast<cudaStream_t>(stream)),
                         "cudnnSetStream");
      !s.empty()) {
    f.cudnnDestroy_(handle);
    return s;
  }
  out = std::make_unique<DnnConvolutions>(handle);
  return "";
}

}  // namespace corten::cuda

#else

namespace corten::cuda {

Status make_convolutions(CUstream, std::unique_ptr<Convolutions>&) {
  return "no cuDNN, which convolutions need: Corten was built without its header cudnn.h; install "
         "NVIDIA's package libcudnn9-dev-cuda-13 and build Corten again";
}

}  // namespace corten::cuda

#endif
