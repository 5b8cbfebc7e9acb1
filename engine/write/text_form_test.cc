#include "engine/write/text_form.h"

#include <doctest/doctest.h>

namespace headgate::engine {
namespace {

using google::protobuf::Map;

template <typename Message>
Message value_of(const std::string& text) {
  Message message;
  const auto attribute = parse_attribute(text);
  REQUIRE_MESSAGE(attribute.ok(), describe(attribute.status()));
  REQUIRE(attribute->value().UnpackTo(&message));
  return message;
}

TEST_SUITE("write/text_form") {
  TEST_CASE("tuple: its text is parsed and formatted") {
    for (const char* text : {"doc:1#owner@user:alice", "doc:1#viewer@group:eng#member", "a:*#r@b:x.y-z_1+2"}) {
      const auto tuple = parse_tuple(text);
      REQUIRE(tuple.ok());
      CHECK(format_tuple(*tuple) == text);
    }
    const auto without_relation = parse_tuple("  doc:1@user:a \n");
    REQUIRE(without_relation.ok());
    CHECK(without_relation->relation() == "");
    CHECK(without_relation->entity().id() == "1");
  }

  TEST_CASE("tuple: texts that are none are refused") {
    for (const char* text : {"", "doc:1#owner", "doc:#owner@user:a", ":1#owner@user:a", "doc#owner@user:a",
                             "doc:1#owner@user:", "doc:1#owner@user:a@b", "doc:1#owner@user:a:b", "doc:1#a#b@user:c",
                             "doc:1#o@user:a#b#c"}) {
      CHECK_MESSAGE(parse_tuple(text).status().code() == StatusCode::kInvalidArgument, text);
    }
  }

  TEST_CASE("attribute: values of every type are parsed") {
    using namespace base::v1;
    CHECK(value_of<BooleanValue>("e:1$b|boolean:T").data());
    CHECK(value_of<StringValue>("e:1$s|string:it's <b> & $x").data() == "it's <b> & $x");
    CHECK(value_of<IntegerValue>("e:1$i|integer:-7").data() == -7);
    CHECK(value_of<DoubleValue>("e:1$d|double:1.5e3").data() == 1500.0);
    const auto booleans = value_of<BooleanArrayValue>("e:1$b|boolean[]:true,false,1");
    CHECK(std::vector<bool>(booleans.data().begin(), booleans.data().end()) == std::vector<bool>{true, false, true});
    const auto strings = value_of<StringArrayValue>("e:1$s|string[]:a,b,,c");
    CHECK(std::vector<std::string>(strings.data().begin(), strings.data().end()) ==
          std::vector<std::string>{"a", "b", "", "c"});
    CHECK(value_of<IntegerArrayValue>("e:1$i|integer[]:1,2").data(1) == 2);
    CHECK(value_of<DoubleArrayValue>("e:1$d|double[]:1,2.5").data(1) == 2.5);
  }

  TEST_CASE("attribute: texts that are none are refused") {
    for (const char* text :
         {"", "e:1$b", "e:1|boolean:true", "e:1$b|boolean", "e:1$b|boolean:", "e:1$b|boolean:yes", "e:1$b|integer:1.5",
          "e:1$b|integer:2147483648", "e:1$b|string:a:b", "e:1$b|string:a|b", "e:1$b|text:a", "e:1$|string:a",
          "e:$b|string:a", "e:1$b|integer[]:1,,2", "e:1$b|double:1x"}) {
      CHECK_MESSAGE(parse_attribute(text).status().code() == StatusCode::kInvalidArgument, text);
    }
  }

  StatusOr<std::string> render(std::string_view text, const Map<std::string, std::string>& arguments) {
    size_t bytes_left = 1000;
    return render_template(text, arguments, bytes_left);
  }

  TEST_CASE("template: what is made fits into what is left, or is not made") {
    Map<std::string, std::string> arguments;
    arguments["x"] = std::string(100, 'x');
    size_t left = 350;
    CHECK(render_template("{{.x}} and {{.x}}", arguments, left)->size() == 205);
    CHECK(left == 145);
    CHECK(render_template("{{.x}}{{.x}}{{.x}}", arguments, left).status().code() == StatusCode::kResourceExhausted);
  }

  TEST_CASE("template: arguments are inserted as they are, unknown ones as nothing") {
    Map<std::string, std::string> arguments;
    arguments["who"] = "a+b<c>&\"'";
    CHECK(*render("user:{{.who}}", arguments) == "user:a+b<c>&\"'");
    CHECK(*render("{{ .who }}{{.who}}!", arguments) == "a+b<c>&\"'a+b<c>&\"'!");
    CHECK(*render("user:{{.nobody}}.", arguments) == "user:.");
    CHECK(*render("no braces {", arguments) == "no braces {");
    // A value is never read as a template again.
    arguments["who"] = "{{.who}}";
    CHECK(*render("{{.who}}", arguments) == "{{.who}}");
  }

  TEST_CASE("template: other actions are refused instead of rendered wrongly") {
    for (const char* text : {"{{if .x}}a{{end}}", "{{.x | html}}", "{{", "{{}}", "{{.}}", "{{.a.b}}", "{{x}}"}) {
      CHECK_MESSAGE(!render(text, {}).ok(), text);
    }
  }
}

}  // namespace
}  // namespace headgate::engine
