// Rules as the evaluator of checks asks them.
#include "engine/cel/rule.h"

#include "tests/support/test_main.h"

namespace headgate::engine::cel {
namespace {

using base::v1::AttributeType;

struct ParameterOf {
  const char* name;
  AttributeType type;
};

Type type_of_parameter(AttributeType type) {
  Type element;
  const int scalar = type % 2 == 0 ? type - 1 : type;
  element.set_primitive(scalar == base::v1::ATTRIBUTE_TYPE_BOOLEAN   ? Type::BOOL
                        : scalar == base::v1::ATTRIBUTE_TYPE_STRING  ? Type::STRING
                        : scalar == base::v1::ATTRIBUTE_TYPE_INTEGER ? Type::INT64
                                                                     : Type::DOUBLE);
  if (type % 2 == 1) return element;
  Type list;
  *list.mutable_list_type()->mutable_elem_type() = element;
  return list;
}

std::shared_ptr<const Rule> rule_of(std::string_view body, const std::vector<ParameterOf>& parameters) {
  base::v1::RuleDefinition definition;
  definition.set_name("r");
  Type dyn;
  dyn.mutable_dyn();
  std::vector<Variable> variables{{"context", dyn}};
  for (const ParameterOf& parameter : parameters) {
    (*definition.mutable_arguments())[parameter.name] = parameter.type;
    variables.push_back({parameter.name, type_of_parameter(parameter.type)});
  }
  Problem problem;
  const auto checked = compile(body, variables, problem);
  REQUIRE_MESSAGE(checked, problem.text);
  *definition.mutable_expression() = *checked;
  auto rule = Rule::make(definition);
  REQUIRE(rule.ok());
  return *rule;
}

template <typename Message>
google::protobuf::Any packed(const Message& message) {
  google::protobuf::Any any;
  any.PackFrom(message);
  return any;
}

google::protobuf::Any integer_of(int32_t value) {
  base::v1::IntegerValue message;
  message.set_data(value);
  return packed(message);
}

google::protobuf::Any strings_of(const std::vector<std::string>& values) {
  base::v1::StringArrayValue message;
  for (const std::string& value : values) message.add_data(value);
  return packed(message);
}

google::protobuf::Struct data_of(const std::string& key, const google::protobuf::Value& value) {
  google::protobuf::Struct data;
  (*data.mutable_fields())[key] = value;
  return data;
}

google::protobuf::Value json_text(const std::string& text) {
  google::protobuf::Value value;
  value.set_string_value(text);
  return value;
}

google::protobuf::Value json_number(double number) {
  google::protobuf::Value value;
  value.set_number_value(number);
  return value;
}

}  // namespace

TEST_SUITE("engine/cel") {
  TEST_CASE("rule: holds by the attributes of an entity") {
    const auto rule = rule_of("balance >= 100", {{"balance", base::v1::ATTRIBUTE_TYPE_INTEGER}});
    const auto enough = integer_of(100);
    const auto less = integer_of(-5);
    CHECK(*rule->holds({{{"balance", &enough}}}, nullptr));
    CHECK_FALSE(*rule->holds({{{"balance", &less}}}, nullptr));
  }

  TEST_CASE("rule: an attribute without a value is the zero value of its type") {
    const auto rule = rule_of("n == 0 && d == 0.0 && s == '' && !b && size(ss) == 0",
                              {{"n", base::v1::ATTRIBUTE_TYPE_INTEGER},
                               {"d", base::v1::ATTRIBUTE_TYPE_DOUBLE},
                               {"s", base::v1::ATTRIBUTE_TYPE_STRING},
                               {"b", base::v1::ATTRIBUTE_TYPE_BOOLEAN},
                               {"ss", base::v1::ATTRIBUTE_TYPE_STRING_ARRAY}});
    CHECK(*rule->holds({{{"n"}, {"d"}, {"s"}, {"b"}, {"ss"}}}, nullptr));
  }

  TEST_CASE("rule: reads the data of the request") {
    const auto rule = rule_of("context.data.tag in tags", {{"tags", base::v1::ATTRIBUTE_TYPE_STRING_ARRAY}});
    const auto tags = strings_of({"red", "blau", "grün"});
    const std::vector<Rule::Argument> arguments{{"tags", &tags}};
    const auto green = data_of("tag", json_text("grün"));
    const auto black = data_of("tag", json_text("black"));
    const auto number = data_of("tag", json_number(5));
    CHECK(*rule->holds(arguments, &green));
    CHECK_FALSE(*rule->holds(arguments, &black));
    CHECK_FALSE(*rule->holds(arguments, &number));
  }

  TEST_CASE("rule: numbers of the request are equal to integers") {
    const auto rule = rule_of("context.data.n == n", {{"n", base::v1::ATTRIBUTE_TYPE_INTEGER}});
    const auto five = integer_of(5);
    const auto same = data_of("n", json_number(5.0));
    const auto other = data_of("n", json_number(5.5));
    CHECK(*rule->holds({{{"n", &five}}}, &same));
    CHECK_FALSE(*rule->holds({{{"n", &five}}}, &other));
  }

  TEST_CASE("rule: what is missing is an error in Permify's words") {
    const auto rule = rule_of("context.data.tag in tags", {{"tags", base::v1::ATTRIBUTE_TYPE_STRING_ARRAY}});
    const auto message = [](const StatusOr<bool>& answer) { return headgate::describe(answer.status()); };
    CHECK(message(rule->holds({{{"tags"}}}, nullptr)) == "INTERNAL: failed to evaluate expression: no such key: tag");
    const auto red = data_of("tag", json_text("red"));
    CHECK(message(rule->holds({}, &red)) == "INTERNAL: failed to evaluate expression: no such attribute(s): tags");
    const auto wrong = integer_of(1);
    CHECK(message(rule->holds({{{"tags", &wrong}}}, &red)) ==
          "INTERNAL: failed to evaluate expression: no such overload: in(string, int)");
  }

  TEST_CASE("rule: takes more parameters than a call keeps room for") {
    std::vector<std::string> names;
    std::vector<ParameterOf> parameters;
    std::string body = "true";
    for (char c = 'a'; c <= 'z'; ++c) names.emplace_back(1, c);
    for (const std::string& name : names) {
      parameters.push_back({name.c_str(), base::v1::ATTRIBUTE_TYPE_INTEGER});
      body += " && " + name + " == 7";
    }
    const auto rule = rule_of(body, parameters);
    const auto seven = integer_of(7);
    std::vector<Rule::Argument> arguments;
    for (const std::string& name : names) arguments.push_back({name, &seven});
    CHECK(*rule->holds(arguments, nullptr));
    arguments[25].value = nullptr;
    CHECK_FALSE(*rule->holds(arguments, nullptr));
  }

  TEST_CASE("rule: broken or foreign values of attributes are errors when they are reached") {
    const auto rule =
        rule_of("b || size(s) > 0", {{"b", base::v1::ATTRIBUTE_TYPE_BOOLEAN}, {"s", base::v1::ATTRIBUTE_TYPE_STRING}});
    base::v1::BooleanValue yes;
    yes.set_data(true);
    const auto is_true = packed(yes);
    google::protobuf::Any broken;
    broken.set_type_url("type.googleapis.com/base.v1.StringValue");
    for (const std::string& bytes : {std::string("\x0A\x02\xFF\xFE"), std::string("\x0A\x7F"), std::string("\xFF")}) {
      broken.set_value(bytes);
      CHECK(rule->holds({{{"b"}, {"s", &broken}}}, nullptr).status().code() == StatusCode::kInternal);
      CHECK(*rule->holds({{{"b", &is_true}, {"s", &broken}}}, nullptr));
    }
    broken.set_type_url("type.googleapis.com/base.v1.Nobody");
    CHECK(rule->holds({{{"b"}, {"s", &broken}}}, nullptr).status().code() == StatusCode::kInternal);
  }

  TEST_CASE("rule: tells what it takes of memory") {
    const std::vector<ParameterOf> parameters{{"s", base::v1::ATTRIBUTE_TYPE_STRING}};
    std::string terms = "s == ''";
    std::string patterns = "false";
    for (int i = 0; i < 1000; ++i) terms += " || s == 'x" + std::to_string(i) + "'";
    for (int i = 0; i < 1000; ++i) patterns += " || s.matches('\\\\pL{30}" + std::to_string(i) + "')";
    CHECK(rule_of("s == ''", parameters)->bytes() < 4'000);
    CHECK(rule_of(terms, parameters)->bytes() > 200'000);
    const size_t most = rule_of(patterns, parameters)->bytes();
    CHECK(most > (2 << 20));
    CHECK(most < (8 << 20));
  }

  TEST_CASE("rule: limits are told by their own codes") {
    const auto rule =
        rule_of("ns.all(x, ns.all(y, ns.all(z, x + y + z > 0)))", {{"ns", base::v1::ATTRIBUTE_TYPE_INTEGER_ARRAY}});
    base::v1::IntegerArrayValue thousand;
    for (int i = 0; i < 1000; ++i) thousand.add_data(1);
    const auto value = packed(thousand);
    const auto code = [&](const Limits& limits) {
      return rule->holds({{{"ns", &value}}}, nullptr, limits).status().code();
    };
    CHECK(code({}) == StatusCode::kResourceExhausted);
    CHECK(code({.deadline = std::chrono::steady_clock::now()}) == StatusCode::kDeadlineExceeded);
    const auto joined = rule_of("size(ss.map(x, x + x)) > 0", {{"ss", base::v1::ATTRIBUTE_TYPE_STRING_ARRAY}});
    const auto long_text = strings_of({std::string(1000, 'x')});
    CHECK(joined->holds({{{"ss", &long_text}}}, nullptr, {.bytes_max = 1000}).status().code() ==
          StatusCode::kResourceExhausted);
  }

  TEST_CASE("rule: many threads ask one rule") {
    const auto rule = rule_of("context.data.tag.matches('^[a-z]+$') && tags.exists(t, t == context.data.tag)",
                              {{"tags", base::v1::ATTRIBUTE_TYPE_STRING_ARRAY}});
    const auto tags = strings_of({"red", "green"});
    const auto green = data_of("tag", json_text("green"));
    std::atomic<int> wrong{0};
    {
      std::vector<std::jthread> threads;
      for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
          for (int n = 0; n < 200; ++n) {
            const auto answer = rule->holds({{{"tags", &tags}}}, &green);
            if (!answer.ok() || !*answer) ++wrong;
          }
        });
      }
    }
    CHECK(wrong == 0);
  }
}

}  // namespace headgate::engine::cel
