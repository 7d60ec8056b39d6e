#include "cuda/plugin/products.h"

#include <cublasLt.h>

#include <algorithm>
#include <cstring>

#include "cuda/plugin/driver.h"
#include "cuda/plugin/library.h"

namespace corten::cuda {
namespace {

#define CORTEN_CUBLAS_FUNCTIONS(X)                                                          \
  X(cublasLtCreate) X(cublasLtGetVersion)                                                   \
  X(cublasLtGetStatusString) X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy)       \
      X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate)                       \
          X(cublasLtMatrixLayoutDestroy) X(cublasLtMatrixLayoutSetAttribute)                \
              X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceDestroy)          \
                  X(cublasLtMatmulPreferenceSetAttribute) X(cublasLtMatmulAlgoGetHeuristic) \
                  X(cublasLtMatmulAlgoCheck)                                                \
                      X(cublasLtMatmul)

struct Functions {
#define CORTEN_X(name) decltype(&::name) name##_ = nullptr;
  CORTEN_CUBLAS_FUNCTIONS(CORTEN_X)
#undef CORTEN_X
  std::string missing, path;
  Functions() {
    const Library library(library_names("libcublasLt", driver().version));
    path = library.path();
    if (!library) {
      missing =
          "no cuBLASLt: libcublasLt.so.13 or .12 was not found; install the CUDA toolkit (package "
          "libcublas) or set CUDA_HOME or CORTEN_CUDA_LIBRARIES to where it is";
      return;
    }
#define CORTEN_X(name)                                  \
  if (!library.find(name##_, #name) && missing.empty()) \
    missing = library.path() + " has no " #name "; install a newer CUDA toolkit";
    CORTEN_CUBLAS_FUNCTIONS(CORTEN_X)
#undef CORTEN_X
  }
  Status check(cublasStatus_t status, const char* what) const {
    return status == CUBLAS_STATUS_SUCCESS
               ? ""
               : std::string(what) + ": " + cublasLtGetStatusString_(status);
  }
};

const Functions& functions() {
  static const auto* instance = new Functions;
  return *instance;
}

cudaDataType_t data_type(ProductType type) {
  switch (type) {
    case ProductType::f32:
    case ProductType::tf32:
      return CUDA_R_32F;
    case ProductType::bf16:
      return CUDA_R_16BF;
    case ProductType::f16:
      return CUDA_R_16F;
    case ProductType::f64:
      return CUDA_R_64F;
    case ProductType::e4m3:
      return CUDA_R_8F_E4M3;
    case ProductType::e5m2:
      return CUDA_R_8F_E5M2;
  }
  return CUDA_R_32F;
}

// Descriptors of a product, made for one call: they are small structures of the host.
//
// The library's matrices are column-major, so it is given c' = b' a': what is row-major [r, c] here
// is column-major [c, r] there.
struct Descriptors {
  const Functions& f = functions();
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  Status status;

  Descriptors(const Product& p, const ProductAddresses& at) {
    const bool f64 = p.type == ProductType::f64, scaled = has_8_bits(p.type);
    const cudaDataType_t type_a = data_type(p.type), type_b = scaled ? data_type(p.type_b) : type_a;
    const cudaDataType_t out = scaled ? data_type(p.type_c) : p.wide_result ? CUDA_R_32F : type_a;
    const cublasComputeType_t compute = f64                           ? CUBLAS_COMPUTE_64F
                                        : p.type == ProductType::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                      : CUBLAS_COMPUTE_32F;
    const auto keep = [&](cublasStatus_t s, const char* what) {
      if (status.empty()) status = f.check(s, what);
    };
    keep(f.cublasLtMatmulDescCreate_(&product, compute, f64 ? CUDA_R_64F : CUDA_R_32F),
         "cublasLtMatmulDescCreate");
    if (!status.empty()) return;
    const auto set = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
      keep(f.cublasLtMatmulDescSetAttribute_(product, attribute, &value, sizeof value),
           "cublasLtMatmulDescSetAttribute");
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (p.bias) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, at.bias);
      set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, out);
    }
    if (scaled) {
      set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, at.scale_b);
      set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, at.scale_a);
    }
    const auto layout = [&](cublasLtMatrixLayout_t& l, cudaDataType_t type, int64_t rows,
                            int64_t columns, int64_t ld, int64_t stride) {
      keep(f.cublasLtMatrixLayoutCreate_(&l, type, static_cast<uint64_t>(rows),
                                         static_cast<uint64_t>(columns), ld),
           "cublasLtMatrixLayoutCreate");
      if (p.batch <= 1 || !status.empty()) return;
      const auto count = static_cast<int32_t>(p.batch);
      keep(f.cublasLtMatrixLayoutSetAttribute_(l, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count,
                                               sizeof count),
           "batch count");
      keep(f.cublasLtMatrixLayoutSetAttribute_(l, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                               &stride, sizeof stride),
           "batch stride");
    };
    layout(b, type_b, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.ldb, p.stride_b);
    layout(a, type_a, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.lda, p.stride_a);
    layout(c, out, p.n, p.m, p.ldc, p.stride_c);
  }
  ~Descriptors() {
    if (product) f.cublasLtMatmulDescDestroy_(product);
    for (cublasLtMatrixLayout_t l : {a, b, c})
      if (l) f.cublasLtMatrixLayoutDestroy_(l);
  }
};

class LtProducts final : public Products {
 public:
  explicit LtProducts(cublasLtHandle_t handle) : handle_(handle) {}

  std::string version() const override {
    return "cuBLASLt " + std::to_string(functions().cublasLtGetVersion_());
  }

  // The first algorithm that the library proposes for the product without a bias and that can add
  // one: a bias does not change which one it is.
  Status plan(const Product& p, ProductPlan& plan) override {
    const Functions& f = functions();
    Product plain = p;
    plain.bias = false;
    constexpr uint64_t kSome = 16;  // addresses: none is no bias and no scale; all that is promised
    const ProductAddresses some{.bias = kSome, .scale_a = kSome, .scale_b = kSome};
    const Descriptors d(plain, some);
    if (!d.status.empty()) return d.status;
    cublasLtMatmulPreference_t preference = nullptr;
    Status status =
        f.check(f.cublasLtMatmulPreferenceCreate_(&preference), "cublasLtMatmulPreferenceCreate");
    if (!status.empty()) return status;
    const auto set = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      if (status.empty())
        status = f.check(
            f.cublasLtMatmulPreferenceSetAttribute_(preference, attribute, &value, sizeof value),
            "cublasLtMatmulPreferenceSetAttribute");
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kMaxWorkspace));
    // Parts of a split k are added in a fixed order, in the type of the sums.
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
        static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    const auto alignment = static_cast<uint32_t>(p.alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment);
    set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment);
    constexpr int kProposals = 8;
    cublasLtMatmulHeuristicResult_t found[kProposals]{};
    int count = 0;
    if (status.empty())
      status = f.check(f.cublasLtMatmulAlgoGetHeuristic_(handle_, d.product, d.b, d.a, d.c, d.c,
                                                         preference, kProposals, found,
                                                         &count),
                       "cublasLtMatmulAlgoGetHeuristic");
    f.cublasLtMatmulPreferenceDestroy_(preference);
    if (!status.empty()) return status;
    if (count == 0) return none_for(p, "");
    int chosen = 0;
    auto workspace = found[0].workspaceSize;
    if (p.bias || takes_bias(p)) {
      plain.bias = true;
      const Descriptors biased(plain, some);
      if (!biased.status.empty()) return biased.status;
      cublasLtMatmulHeuristicResult_t checked{};
      while (chosen < count &&
             (f.cublasLtMatmulAlgoCheck_(handle_, biased.product, biased.b, biased.a, biased.c,
                                         biased.c, &found[chosen].algo,
                                         &checked) != CUBLAS_STATUS_SUCCESS ||
              checked.workspaceSize > static_cast<size_t>(kMaxWorkspace)))
        ++chosen;
      if (chosen == count && p.bias) return none_for(p, " with a bias");
      if (chosen == count) chosen = 0;
      workspace = std::max(found[chosen].workspaceSize, checked.workspaceSize);
    }
    plan.algorithm.assign(reinterpret_cast<const char*>(&found[chosen].algo),
                          sizeof found[chosen].algo);
    plan.workspace_bytes = static_cast<int64_t>(workspace);
    return "";
  }

  Status run(const Product& p, const ProductPlan& plan, const ProductAddresses& at,
             CUstream stream) override {
    const Functions& f = functions();
    cublasLtMatmulAlgo_t algorithm;
    if (plan.algorithm.size() != sizeof algorithm)
      return "a product's algorithm is of another version of cuBLASLt";
    std::memcpy(&algorithm, plan.algorithm.data(), sizeof algorithm);
    const Descriptors d(p, at);
    if (!d.status.empty()) return d.status;
    const double one = 1, beta = p.accumulate ? 1 : 0;
    const float one_f = 1, beta_f = p.accumulate ? 1 : 0;
    const bool f64 = p.type == ProductType::f64;
    const auto address = [](uint64_t x) { return reinterpret_cast<void*>(x); };
    return f.check(
        f.cublasLtMatmul_(
            handle_, d.product, f64 ? static_cast<const void*>(&one) : &one_f, address(at.b), d.b,
            address(at.a), d.a, f64 ? static_cast<const void*>(&beta) : &beta_f, address(at.c), d.c,
            address(at.c), d.c, &algorithm, address(at.workspace),
            static_cast<size_t>(plan.workspace_bytes), reinterpret_cast<cudaStream_t>(stream)),
        "cublasLtMatmul");
  }

 private:
  // Products that a program may ask for with a bias and without.
  static bool takes_bias(const Product& p) {
    return p.wide_result || p.type == ProductType::f32 || p.type == ProductType::tf32;
  }
  static Status none_for(const Product& p, const char* what) {
    return "cuBLASLt has no algorithm for a product of " + std::to_string(p.m) + " x " +
           std::to_string(p.n) + " x " + std::to_string(p.k) + what;
  }

  cublasLtHandle_t
      handle_;  // lives as long as the process: destroying it would wait for the device
};

}  // namespace

Status make_products(std::unique_ptr<Products>& out) {
  const Functions& f = functions();
  if (!f.missing.empty()) return f.missing;
  cublasLtHandle_t handle = nullptr;
  if (Status s = f.check(f.cublasLtCreate_(&handle), "cublasLtCreate"); !s.empty())
    return s + " (cuBLASLt " + std::to_string(f.cublasLtGetVersion_()) + " in " + f.path + ", " +
           driver_text(driver().version) +
           "); the library must be of the driver's CUDA or of an older one: install a newer NVIDIA "
           "driver, or set CORTEN_CUDA_LIBRARIES to where an older libcublasLt is";
  out = std::make_unique<LtProducts>(handle);
  return "";
}

}  // namespace corten::cuda
