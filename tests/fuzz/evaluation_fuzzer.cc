// Rules that run: the data of a request, and an expression over it and over attributes.
#include <google/protobuf/util/json_util.h>

#include "engine/cel/attribute.h"
#include "engine/cel/parser.h"
#include "engine/cel/program.h"
#include "engine/schema/source.h"
#include "tests/fuzz/input.h"
#include "tests/fuzz/properties.h"
#include "tests/support/cel_variables.h"

namespace headgate::fuzz {
namespace {

using namespace engine::cel;
namespace cel = engine::cel;

constexpr Limits kNarrow{.steps_max = 5'000, .bytes_max = 64 << 10};
constexpr Limits kWide{.steps_max = 50'000, .bytes_max = 640 << 10};

template <typename Message, typename... Data>
google::protobuf::Any attribute_of(const Data&... data) {
  Message message;
  if constexpr (sizeof...(data) == 1) {
    (message.set_data(data), ...);
  } else {
    (message.add_data(data), ...);
  }
  google::protobuf::Any any;
  any.PackFrom(message);
  return any;
}

// The variables of tests/support/cel_variables.h, from attributes as they are stored.
struct World {
  explicit World(std::string_view json) {
    const auto status = google::protobuf::util::JsonStringToMessage(std::string(json), &data);
    if (!status.ok()) data.Clear();
    context = {Value::text("data"), Value::map(data)};
    const std::map<std::string, Value> all = {
        {"context", Value::map({&context, 1})},
        {"n", add(attribute_of<base::v1::IntegerValue>(-3))},
        {"ns", add(attribute_of<base::v1::IntegerArrayValue>(0, 1, 2, 2147483647))},
        {"s", add(attribute_of<base::v1::StringValue>("h\xC3\xA9llo"))},
        {"ss", add(attribute_of<base::v1::StringArrayValue>("", "a", "b\xF0\x9F\x98\x80", "2024-01-31T00:00:00Z"))},
        {"b", add(attribute_of<base::v1::BooleanValue>(true))},
        {"bs", add(attribute_of<base::v1::BooleanArrayValue>(true, false))},
        {"d", add(attribute_of<base::v1::DoubleValue>(1.5))},
        {"ds", add(attribute_of<base::v1::DoubleArrayValue>(0.0, -1e300, 5.0))}};
    for (const Variable& variable : testing::cel_variables()) {
      names.push_back(variable.name);
      values.push_back(all.at(variable.name));
    }
  }

  Value add(google::protobuf::Any any) { return from_attribute(attributes.emplace_back(std::move(any)), heap); }

  google::protobuf::Struct data;
  std::deque<google::protobuf::Any> attributes;
  Heap heap;
  MapEntry context;
  std::vector<std::string> names;
  std::vector<Value> values;
};

bool is_limit(const Value& value) { return value.is_error() && value.error().kind >= ErrorKind::kTooManySteps; }

// What the checker says of a value holds when there is one.
void demand_type(const Value& value, const Type& type) {
  const std::string wanted = describe(type);
  if (value.is_error() || wanted.starts_with("dyn") || type.has_wrapper() || type.has_message_type()) return;
  const std::string name(type_name(value.kind()));
  const std::string plain = wanted.substr(0, wanted.find('('));
  const bool is_time = type.has_well_known();
  const bool fits =
      is_time ? value.is(ValueKind::kTimestamp) || value.is(ValueKind::kDuration) || type.well_known() == Type::ANY
      : plain == "null" ? value.is(ValueKind::kNull)
                        : name == plain;
  demand(fits, "{} is not of type {}", describe(value), wanted);
}

Value run(const cel::Program& program, const World& world, Heap& heap) {
  const Value value = program.run(world.values, heap);
  if (value.is_error()) {
    const std::string text(value.error().text);
    demand(!text.empty() && is_utf8(text), "an error without a readable text: '{}'", text);
  }
  return value;
}

void try_program(const cel::Program& program, const World& world, const Type* type) {
  Heap first(kNarrow);
  Heap second(kNarrow);
  Heap wide(kWide);
  const Value value = run(program, world, first);
  demand(describe(run(program, world, second)) == describe(value), "another answer the second time");
  if (type != nullptr) demand_type(value, *type);
  if (is_limit(value)) return;
  demand(describe(run(program, world, wide)) == describe(value), "another answer when there is more room");
}

void try_attribute(std::string_view bytes) {
  for (const char* name : {"BooleanValue", "StringValue", "IntegerValue", "DoubleValue", "BooleanArrayValue",
                           "StringArrayValue", "IntegerArrayValue", "DoubleArrayValue", "Nobody"}) {
    google::protobuf::Any any;
    any.set_type_url(std::string("type.googleapis.com/base.v1.") + name);
    any.set_value(std::string(bytes));
    Heap heap;
    const Value value = from_attribute(any, heap);
    demand(!value.is(ValueKind::kUnbound), "no value at all");
    demand(is_utf8(describe(value)), "a value that is no text");
  }
}

}  // namespace

void evaluation_target(std::string_view input) {
  be_quiet();
  const auto [json, text] = split_at_mark(input);
  try_attribute(text);
  if (engine::find_unreadable(text) != std::string_view::npos) return;
  const World world(json);
  Problem problem;
  if (const auto checked = compile(text, testing::cel_variables(), problem)) {
    const auto program = cel::Program::make(checked->expr(), world.names);
    if (program.ok()) try_program(**program, world, &result_type(*checked));
  }
  Parser parser(text);
  if (const auto parsed = parser.parse()) {
    const auto program = cel::Program::make(*parsed, world.names);
    if (program.ok()) try_program(**program, world, nullptr);
  }
}

}  // namespace headgate::fuzz
