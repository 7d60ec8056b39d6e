// Cached objects are found by kEmitterVersion among others: code that emits something else needs
// another version.
//
// emitter_version.txt holds the version and a hash of what it emits. After a change of the emitter,
// raise kEmitterVersion and write the line that the test shows into the file.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/format.h"
#include "codegen/harness.h"
#include "codegen/jit.h"

namespace corten::codegen::test {
namespace {

using namespace ir;

// Kernels that reach most of the emitter; without functions, whose expansions are part of the key.
std::vector<Kernel> samples() {
  std::vector<Kernel> all;
  for (const DType dtype : {DType::f32, DType::bf16, DType::u8, DType::f64, DType::boolean}) {
    Kernel k;  // guarded and gathered loads, every kind of stride
    k.outer_rank = 2;
    k.operands = {{dtype, false}, {DType::i64, false}, {dtype, true}};
    k.params = {DType::f32};
    k.accesses = {{1, InnerStride::zero}, {0, InnerStride::one, 0, 3}, {0, InnerStride::any},
                  {1, InnerStride::any},  {0, InnerStride::zero, 3},   {2, InnerStride::one}};
    Body& b = k.body;
    const DType t = scalar_type(dtype);
    k.accesses[1].index = b.load(DType::i64, 0).id;
    k.accesses[4].index = b.load(DType::i64, 3).id;
    const Expr x = b.load(t, 1, b.constant(t, 1).id), y = b.load(t, 2), z = b.load(t, 4);
    const Expr w = select(x < y, y, z);
    k.stores = {{5, round_to(dtype, select(y == z, w, x)).id, StoreMode::set, true}};
    all.push_back(k);
  }
  for (const DType t : {DType::f32, DType::f64, DType::i64}) {
    Kernel k;  // reductions in lanes and in scratch rows, of several levels
    k.outer_rank = 1;
    k.operands = {{t, false}, {t, true}, {t, true}};
    k.accesses = {{0, InnerStride::one}, {1, InnerStride::one}, {2, InnerStride::zero}};
    Body& b = k.body;
    const Expr x = b.load(t, 0);
    const Expr e = x / b.reduce(ScalarOp::reduce_max, x, kRowTree) * (x / 3.0) + x / 7.0;
    const Expr s = b.reduce(ScalarOp::reduce_sum, e, kRowTree);
    k.stores = {{1, (e - s).id}, {2, (s + b.reduce(ScalarOp::reduce_sum, x, kPairwiseTree)).id}};
    all.push_back(k);
    Kernel c;
    c.form = KernelForm::columns;
    c.outer_rank = 2;
    c.operands = {{t, false}, {t, true}};
    c.accesses = {{0, InnerStride::one}, {1, InnerStride::one}};
    const Expr u = c.body.load(t, 0);
    c.stores = {{1, (c.body.reduce(ScalarOp::reduce_sum, u, kColumnTree) -
                     c.body.reduce(ScalarOp::reduce_min, u * 2.0, kColumnTree))
                        .id}};
    all.push_back(c);
    Kernel a;
    a.form = KernelForm::scatter;
    a.outer_rank = 1;
    a.operands = {{t, false}, {DType::i64, false}, {t, true}};
    a.accesses = {{1, InnerStride::one}, {0, InnerStride::one}, {2, InnerStride::one}};
    a.accesses[2].index = a.body.load(DType::i64, 0).id;
    a.stores = {{2, a.body.load(t, 1).id, StoreMode::add}};
    all.push_back(a);
  }
  return all;
}

TEST(Emitter, VersionNamesWhatIsEmitted) {
  Hasher hasher;
  for (const Kernel& k : samples())
    for (const Target& t :
         {Target{Isa::avx2, false}, Target{Isa::avx512, false}, Target{Isa::amx, true}})
      hasher.update(module_text(make_plan(k), t, false));
  const std::string line =
      format("{} {} {}\n", kEmitterVersion, llvm_version(), hex(hasher.digest64()));
  const std::string golden = read_file(join_path(CORTEN_TEST_DATA, "emitter_version.txt"));
  if (golden.find(format(" {} ", llvm_version())) == std::string::npos)
    GTEST_SKIP() << "made with another LLVM: " << golden;
  EXPECT_EQ(golden, line);
}

}  // namespace
}  // namespace corten::codegen::test
