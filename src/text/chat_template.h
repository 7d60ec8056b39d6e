// Chat templates: conversations as the text that a model was trained on.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "corten/tokenizer.h"

namespace corten {

/// What the `transformers` library's apply_chat_template(tokenize=False) gives. `special`: texts of
/// special tokens by role, as "bos" of which the template's bos_token is made. Usage error "chat
/// template: ...".
std::string render_chat(const std::string& source, std::string_view messages,
                        const ChatOptions& options,
                        const std::map<std::string, std::string, std::less<>>& special);

/// Usage error "chat template: ..." for one that is not well formed.
void check_chat_template(const std::string& source);

}  // namespace corten
