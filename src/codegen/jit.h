// LLVM in process: modules to objects, objects to functions.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "codegen/emit.h"

namespace corten::codegen {

/// "19.1.7"
std::string_view llvm_version();
/// The features kernels are compiled with, in LLVM's notation.
std::string feature_string(const Target& target);

/// Emits, optimises and compiles a kernel to a relocatable object with one symbol. Thread-safe.
std::string compile_object(const Plan& plan, const Target& target);

/// The text of the module that compile_object() compiles, before (LLVM IR) or after (assembly) it;
/// for dumps and tests.
std::string module_text(const Plan& plan, const Target& target, bool assembly);

/// A linked object; its code goes with it.
class LinkedObject {
 public:
  virtual ~LinkedObject() = default;
  virtual KernelFunction function() const = 0;
};

/// Links an object. Thread-safe. Internal error if it is none or the symbol is missing.
std::shared_ptr<const LinkedObject> link_object(std::string_view object);

}  // namespace corten::codegen
