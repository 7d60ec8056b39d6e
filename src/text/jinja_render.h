// Runs templates.
#pragma once

#include <string>

#include "text/jinja_ast.h"

namespace corten::jinja {

/// The text of a template with these variables beside the built-in functions. Usage error "line N:
/// ..." for what goes wrong, also for templates that take too long, nest too deeply or give too
/// much text.
std::string render(const Body& body, const Dict& variables);

}  // namespace corten::jinja
