// Chat templates against the `transformers` library; see scripts/make_chat_goldens.py.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "corten/error.h"
#include "text/chat_template.h"
#include "text/jinja_render.h"

namespace corten {
namespace {

std::string render(const Json& test_case) {
  ChatOptions options;
  if (const Json* prompt = test_case.find("add_generation_prompt"))
    options.add_generation_prompt = prompt->as_bool();
  if (const Json* tools = test_case.find("tools")) options.tools = tools->dump();
  if (const Json* variables = test_case.find("variables")) options.variables = variables->dump();
  return render_chat(test_case.at("template").as_string(), test_case.at("messages").dump(), options,
                     {{"bos", "<s>"}, {"eos", "</s>"}});
}

TEST(Chat, RendersAsTheLibrary) {
  const std::string path = CORTEN_TEST_DATA "/goldens/chat.json";
  const Json cases = Json::parse(read_file(path), path);
  ASSERT_GT(cases.size(), 90u);
  for (const Json& test_case : cases.elements()) {
    SCOPED_TRACE(test_case.at("name").as_string() + ": " + test_case.at("template").as_string());
    std::string text;
    std::string error;
    try {
      text = render(test_case);
    } catch (const Error& caught) {
      EXPECT_EQ(caught.kind(), ErrorKind::Usage);
      error = caught.what();
      EXPECT_EQ(error.find('\n'), std::string::npos);
      EXPECT_EQ(error.find("chat template: line "), 0u) << error;
    }
    if (test_case.contains("error")) {
      EXPECT_NE(error, "");
    } else {
      EXPECT_EQ(error, "");
      EXPECT_EQ(text, test_case.at("text").as_string());
    }
  }
}

std::string error_of(const std::string& source) {
  try {
    render_chat(source, "[]", {}, {});
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(Chat, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a\n{{ x.y }}"), "chat template: line 2: 'x' is undefined");
  EXPECT_EQ(error_of("{% for i in [1] %}\n\n{{ 1 / 0 }}{% endfor %}"),
            "chat template: line 3: division by zero");
  EXPECT_EQ(error_of("\n{{ raise_exception('a\nb') }}"),
            "chat template: line 2: the template says: a b");
  EXPECT_NE(error_of("{% if x %}").find("line 1: expected {% endif %}"), std::string::npos);
  EXPECT_NE(error_of("{{ 1 | nothing }}").find("the filter \"nothing\" is not supported"),
            std::string::npos);
}

TEST(Chat, TemplatesWithoutEndAreStopped) {
  EXPECT_NE(error_of("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
                .find("steps"),
            std::string::npos);
  EXPECT_NE(error_of("{% set x = 'aaaaaaaaaaaaaaaa' * 99999999 %}").find("too large"),
            std::string::npos);
  EXPECT_NE(error_of("{% set x = [1, 2] * 9999999 %}").find("too large"), std::string::npos);
  EXPECT_EQ(render_chat("{{ '' * 99999999999 }}{{ [] * 99999999999 }}", "[]", {}, {}), "[]");
  const std::string open(5000, '('), close(5000, ')');
  EXPECT_NE(error_of("{{ " + open + "1" + close + " }}").find("levels"), std::string::npos);
  EXPECT_NE(error_of("{{ " + std::string(5000, '-') + "1 }}").find("levels"), std::string::npos);
}

TEST(Chat, BadMessagesAreErrors) {
  EXPECT_THROW(render_chat("x", "{}", {}, {}), Error);
  EXPECT_THROW(render_chat("x", "[1]", {}, {}), Error);
  EXPECT_THROW(render_chat("x", "[", {}, {}), Error);
}

}  // namespace
}  // namespace corten
