#include "text/chat_template.h"

#include <algorithm>

#include "base/format.h"
#include "base/json.h"
#include "text/jinja_render.h"
#include "text/unicode.h"

namespace corten {
namespace {

// What a model thought goes by several names; templates read the first one, some the second.
Json with_reasoning(const Json& message) {
  const Json* reasoning = nullptr;
  for (const char* key : {"reasoning_content", "thinking", "reasoning"}) {
    const Json* value = message.find(key);
    if (reasoning == nullptr && value != nullptr && !value->is_null()) reasoning = value;
  }
  if (reasoning == nullptr) return message;
  Json result = Json::object({{"thinking", *reasoning}});
  for (const auto& [key, value] : message.items()) result.set(key, value);
  return result.set("reasoning_content", *reasoning);
}

/// Errors say that they are the template's.
template <typename Action>
auto with_place(Action&& action) {
  try {
    return action();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::Usage) throw;
    std::string text = error.what();  // of one line, whatever the template's texts have
    std::replace_if(text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
    usage_error("chat template: {}", text);
  }
}

}  // namespace

std::string render_chat(const std::string& source, std::string_view messages,
                        const ChatOptions& options,
                        const std::map<std::string, std::string, std::less<>>& special) {
  Json list = Json::array();
  const Json given = Json::parse(messages, "messages");
  for (const Json& message : given.elements("messages")) {
    if (!message.is_object())
      usage_error("messages: expected an object, found {}", message.type_name());
    list.push_back(with_reasoning(message));
  }
  jinja::Dict variables;
  for (const auto& [role, text] : special) variables.set(role + "_token", jinja::Value(text));
  if (!options.variables.empty()) {
    const Json more = Json::parse(options.variables, "variables");
    for (const auto& [key, value] : more.items("variables"))
      variables.set(key, jinja::Value::from_json(value));
  }
  variables.set("messages", jinja::Value::from_json(list));
  variables.set("add_generation_prompt", options.add_generation_prompt);
  variables.set("tools", options.tools.empty()
                             ? jinja::Value::none()
                             : jinja::Value::from_json(Json::parse(options.tools, "tools")));
  if (variables.member("documents") == nullptr) variables.set("documents", jinja::Value::none());
  return with_place([&] {
    std::string buffer;
    return jinja::render(jinja::parse(valid_utf8(source, buffer)), variables);
  });
}

void check_chat_template(const std::string& source) {
  with_place([&] {
    std::string buffer;
    jinja::parse(valid_utf8(source, buffer));
  });
}

}  // namespace corten
