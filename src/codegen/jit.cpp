#include "codegen/jit.h"

#include <llvm/ADT/StringMap.h>
#include <llvm/Analysis/CGSCCPassManager.h>
#include <llvm/Analysis/LoopAnalysisManager.h>
#include <llvm/Config/llvm-config.h>
#include <llvm/ExecutionEngine/Orc/LLJIT.h>
#include <llvm/IR/LegacyPassManager.h>
#include <llvm/IR/PassManager.h>
#include <llvm/IR/Verifier.h>
#include <llvm/MC/TargetRegistry.h>
#include <llvm/Passes/PassBuilder.h>
#include <llvm/Support/CommandLine.h>
#include <llvm/Support/TargetSelect.h>
#include <llvm/Support/raw_ostream.h>
#include <llvm/Target/TargetMachine.h>
#include <llvm/Transforms/Scalar/EarlyCSE.h>
#include <llvm/Transforms/Scalar/LICM.h>
#include <llvm/Transforms/Scalar/LoopPassManager.h>
#include <llvm/Transforms/Scalar/SimplifyCFG.h>

#include <atomic>
#include <mutex>
#include <vector>

#include "base/format.h"
#include "codegen/llvm.h"
#include "codegen/support.h"

namespace corten::codegen {
namespace {

constexpr const char* kSymbol = "kernel";
constexpr const char* kTriple = "x86_64-unknown-linux-gnu";

void initialise() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    // Passes of the code generator that cost as much as all others together and find nothing in our
    // loops.
    for (const char* pass : {"disable-lsr", "disable-mergeicmps", "disable-constant-hoisting",
                             "disable-partial-libcall-inlining"}) {
      auto& options = llvm::cl::getRegisteredOptions();
      if (const auto it = options.find(pass); it != options.end())
        static_cast<llvm::cl::opt<bool>*>(it->second)->setValue(true);
    }
  });
}

// The instruction scheduler's model; which instructions may be used is said by the features alone.
const char* tuning(const Target& target) {
  return target.avx512() ? "sapphirerapids" : "haswell";
}

std::unique_ptr<llvm::TargetMachine> make_machine(const Target& target) {
  initialise();
  std::string error;
  const llvm::Target* t = llvm::TargetRegistry::lookupTarget(kTriple, error);
  if (!t) internal_error("LLVM has no x86-64 target: {}", error);
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;
  return std::unique_ptr<llvm::TargetMachine>(
      t->createTargetMachine(kTriple, "x86-64", feature_string(target), options, llvm::Reloc::PIC_,
                             llvm::CodeModel::Small, llvm::CodeGenOptLevel::Default, true));
}

// Target machines are not thread-safe and take a while to make: they are kept for the next
// compilation.
class MachinePool {
 public:
  std::unique_ptr<llvm::TargetMachine> take(const Target& target) {
    {
      std::lock_guard lock(mutex_);
      for (auto it = idle_.begin(); it != idle_.end(); ++it)
        if (it->first == target) {
          auto machine = std::move(it->second);
          idle_.erase(it);
          return machine;
        }
    }
    return make_machine(target);
  }
  void give_back(const Target& target, std::unique_ptr<llvm::TargetMachine> machine) {
    std::lock_guard lock(mutex_);
    idle_.emplace_back(target, std::move(machine));
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<Target, std::unique_ptr<llvm::TargetMachine>>> idle_;
};
MachinePool& machines() {
  static auto* pool = new MachinePool;  // outlives the threads that may still compile at exit
  return *pool;
}

// The module comes with vectors and unrolled loops: what is left is common subexpressions and what
// does not change in a loop.
void optimise(llvm::Module& module, llvm::TargetMachine& machine) {
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  llvm::FunctionPassManager passes;
  passes.addPass(llvm::EarlyCSEPass(true));
  passes.addPass(llvm::createFunctionToLoopPassAdaptor(llvm::LICMPass(llvm::LICMOptions()), true));
  for (llvm::Function& f : module)
    if (!f.isDeclaration()) passes.run(f, functions);
}

std::unique_ptr<llvm::Module> make_module(const Plan& plan, const Target& target,
                                          llvm::LLVMContext& context,
                                          llvm::TargetMachine& machine) {
  auto module = emit(plan, target, kSymbol, context);
  module->setTargetTriple(kTriple);
  module->setDataLayout(machine.createDataLayout());
  for (llvm::Function& f : *module)
    if (!f.isDeclaration()) f.addFnAttr("tune-cpu", tuning(target));
#ifndef NDEBUG
  std::string problems;
  llvm::raw_string_ostream out(problems);
  if (llvm::verifyModule(*module, &out))
    internal_error("the emitted module is invalid: {}", problems);
#endif
  optimise(*module, machine);
  return module;
}

std::string generate(llvm::Module& module, llvm::TargetMachine& machine,
                     llvm::CodeGenFileType kind) {
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream out(bytes);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, out, nullptr, kind, true))
    internal_error("LLVM cannot write objects for {}", kTriple);
  passes.run(module);
  return {bytes.data(), bytes.size()};
}

std::string text_of(llvm::Error error) {
  return llvm::toString(std::move(error));
}

class Jit {
 public:
  Jit() {
    initialise();
    llvm::orc::JITTargetMachineBuilder builder{llvm::Triple(kTriple)};
    auto made = llvm::orc::LLJITBuilder()
                    .setJITTargetMachineBuilder(std::move(builder))
                    .setLinkProcessSymbolsByDefault(false)
                    .setPlatformSetUp(llvm::orc::setUpInactivePlatform)
                    .create();
    if (!made)
      internal_error("the just-in-time linker does not start: {}", text_of(made.takeError()));
    jit_ = std::move(*made);
    llvm::orc::SymbolMap symbols;
    for (const SupportFunction& f : support_functions())
      symbols[jit_->mangleAndIntern(f.name)] = {
          llvm::orc::ExecutorAddr::fromPtr(f.address),
          llvm::JITSymbolFlags::Exported | llvm::JITSymbolFlags::Callable};
    if (auto error = jit_->getMainJITDylib().define(llvm::orc::absoluteSymbols(std::move(symbols))))
      internal_error("support functions of kernels cannot be defined: {}",
                     text_of(std::move(error)));
  }
  llvm::orc::LLJIT& get() { return *jit_; }

  /// A library of its own for every object: all have the same symbol.
  llvm::orc::JITDylib& new_library() {
    llvm::orc::JITDylib& library =
        jit_->getExecutionSession().createBareJITDylib(format("kernel{}", count_.fetch_add(1)));
    library.addToLinkOrder(jit_->getMainJITDylib());
    return library;
  }
  void remove(llvm::orc::JITDylib& library) {
    llvm::consumeError(jit_->getExecutionSession().removeJITDylib(library));
  }

 private:
  std::atomic<int64_t> count_ = 0;
  std::unique_ptr<llvm::orc::LLJIT> jit_;
};
Jit& jit() {
  static auto* instance = new Jit;  // compiled code may run until the very end of the process
  return *instance;
}

class Linked : public LinkedObject {
 public:
  explicit Linked(std::string_view object) : library_(jit().new_library()) {
    llvm::orc::LLJIT& lljit = jit().get();
    auto buffer = llvm::MemoryBuffer::getMemBufferCopy({object.data(), object.size()}, kSymbol);
    auto error = lljit.addObjectFile(library_, std::move(buffer));
    if (!error) {
      auto address = lljit.lookup(library_, kSymbol);
      if (address) {
        function_ = address->toPtr<KernelFunction>();
        return;
      }
      error = address.takeError();
    }
    jit().remove(library_);
    internal_error("an object with a kernel cannot be linked: {}", text_of(std::move(error)));
  }
  ~Linked() override { jit().remove(library_); }
  KernelFunction function() const override { return function_; }

 private:
  llvm::orc::JITDylib& library_;
  KernelFunction function_ = nullptr;
};

}  // namespace

std::string_view llvm_version() {
  return LLVM_VERSION_STRING;
}

std::string feature_string(const Target& target) {
  std::string features = "+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe";
  if (target.avx512()) features += ",+avx512f,+avx512bw,+avx512dq,+avx512vl,+avx512cd";
  if (target.bf16) features += ",+avx512bf16";
  return features;
}

std::string compile_object(const Plan& plan, const Target& target) {
  auto machine = machines().take(target);
  llvm::LLVMContext context;
  std::string object;
  {
    auto module = make_module(plan, target, context, *machine);
    object = generate(*module, *machine, llvm::CodeGenFileType::ObjectFile);
  }
  machines().give_back(target, std::move(machine));
  return object;
}

std::string module_text(const Plan& plan, const Target& target, bool assembly) {
  auto machine = make_machine(target);
  llvm::LLVMContext context;
  auto module = make_module(plan, target, context, *machine);
  if (assembly) return generate(*module, *machine, llvm::CodeGenFileType::AssemblyFile);
  std::string text;
  llvm::raw_string_ostream out(text);
  module->print(out, nullptr);
  return text;
}

std::shared_ptr<const LinkedObject> link_object(std::string_view object) {
  return std::make_shared<Linked>(object);
}

}  // namespace corten::codegen
