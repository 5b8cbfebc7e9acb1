// Operators of numbers, texts, lists and maps.
#include "engine/cel/functions.h"

namespace headgate::engine::cel {
namespace {

using Operands = std::span<const Value>;

bool are(Operands operands, ValueKind kind) { return operands[0].is(kind) && operands[1].is(kind); }

bool is_time(const Value& value) { return value.is(ValueKind::kTimestamp) || value.is(ValueKind::kDuration); }

[[gnu::noinline]] Value integer_overflow(Heap& heap) { return heap.fail(ErrorKind::kOverflow, "integer overflow"); }
[[gnu::noinline]] Value natural_overflow(Heap& heap) {
  return heap.fail(ErrorKind::kOverflow, "unsigned integer overflow");
}

Value concatenate(Heap& heap, const Value& a, const Value& b) {
  if (a.size() == 0) return b;
  if (b.size() == 0) return a;
  Value* all = heap.values(a.size() + b.size());
  if (all == nullptr) return heap.ended();
  for (size_t i = 0; i < a.size(); ++i) all[i] = a.at(i);
  for (size_t i = 0; i < b.size(); ++i) all[a.size() + i] = b.at(i);
  return Value::list({all, a.size() + b.size()});
}

Value add(Heap& heap, Operands operands) {
  const auto& [a, b] = std::tie(operands[0], operands[1]);
  if (are(operands, ValueKind::kInt)) {
    int64_t sum = 0;
    return __builtin_add_overflow(a.integer(), b.integer(), &sum) ? integer_overflow(heap) : Value::of(sum);
  }
  if (are(operands, ValueKind::kUint)) {
    uint64_t sum = 0;
    return __builtin_add_overflow(a.natural(), b.natural(), &sum) ? natural_overflow(heap) : Value::of(sum);
  }
  if (are(operands, ValueKind::kDouble)) return Value::of(a.real() + b.real());
  if (are(operands, ValueKind::kString) || are(operands, ValueKind::kBytes)) return heap.join(a, b);
  if (are(operands, ValueKind::kList)) return concatenate(heap, a, b);
  if (is_time(a) && is_time(b)) return add_time(heap, operands);
  return heap.no_such_overload("+", operands);
}

Value subtract(Heap& heap, Operands operands) {
  const auto& [a, b] = std::tie(operands[0], operands[1]);
  if (are(operands, ValueKind::kInt)) {
    int64_t rest = 0;
    return __builtin_sub_overflow(a.integer(), b.integer(), &rest) ? integer_overflow(heap) : Value::of(rest);
  }
  if (are(operands, ValueKind::kUint)) {
    uint64_t rest = 0;
    return __builtin_sub_overflow(a.natural(), b.natural(), &rest) ? natural_overflow(heap) : Value::of(rest);
  }
  if (are(operands, ValueKind::kDouble)) return Value::of(a.real() - b.real());
  if (is_time(a) && is_time(b)) return subtract_time(heap, operands);
  return heap.no_such_overload("-", operands);
}

Value multiply(Heap& heap, Operands operands) {
  const auto& [a, b] = std::tie(operands[0], operands[1]);
  if (are(operands, ValueKind::kInt)) {
    int64_t product = 0;
    return __builtin_mul_overflow(a.integer(), b.integer(), &product) ? integer_overflow(heap) : Value::of(product);
  }
  if (are(operands, ValueKind::kUint)) {
    uint64_t product = 0;
    return __builtin_mul_overflow(a.natural(), b.natural(), &product) ? natural_overflow(heap) : Value::of(product);
  }
  if (are(operands, ValueKind::kDouble)) return Value::of(a.real() * b.real());
  return heap.no_such_overload("*", operands);
}

// The one quotient of integers that does not fit.
bool is_least_by_minus_one(Operands operands) {
  return operands[0].integer() == std::numeric_limits<int64_t>::min() && operands[1].integer() == -1;
}

Value divide(Heap& heap, Operands operands) {
  const auto& [a, b] = std::tie(operands[0], operands[1]);
  if (are(operands, ValueKind::kDouble)) return Value::of(a.real() / b.real());
  const bool natural = are(operands, ValueKind::kUint);
  if (!natural && !are(operands, ValueKind::kInt)) return heap.no_such_overload("/", operands);
  if (natural ? b.natural() == 0 : b.integer() == 0) return heap.fail(ErrorKind::kDivideByZero, "division by zero");
  if (natural) return Value::of(a.natural() / b.natural());
  return is_least_by_minus_one(operands) ? integer_overflow(heap) : Value::of(a.integer() / b.integer());
}

Value modulo(Heap& heap, Operands operands) {
  const auto& [a, b] = std::tie(operands[0], operands[1]);
  const bool natural = are(operands, ValueKind::kUint);
  if (!natural && !are(operands, ValueKind::kInt)) return heap.no_such_overload("%", operands);
  if (natural ? b.natural() == 0 : b.integer() == 0) return heap.fail(ErrorKind::kModulusByZero, "modulus by zero");
  if (natural) return Value::of(a.natural() % b.natural());
  return is_least_by_minus_one(operands) ? integer_overflow(heap) : Value::of(a.integer() % b.integer());
}

template <typename Number>
int order_of(Number a, Number b) {
  return a < b ? -1 : (b < a ? 1 : 0);
}

enum class Relation { kLess, kLessEquals, kGreater, kGreaterEquals };

template <Relation relation>
bool holds(int order) {
  switch (relation) {
    case Relation::kLess: return order < 0;
    case Relation::kLessEquals: return order <= 0;
    case Relation::kGreater: return order > 0;
    default: return order >= 0;
  }
}

template <Relation relation>
Value compare(Heap& heap, Operands operands) {
  constexpr std::string_view kNames[] = {"<", "<=", ">", ">="};
  const auto& [a, b] = std::tie(operands[0], operands[1]);
  if (a.is_number() && b.is_number()) {
    const int order = order_of_numbers(a, b);
    if (order == 2) return heap.fail(ErrorKind::kUnorderable, "NaN values cannot be ordered");
    return Value::of(holds<relation>(order));
  }
  if (a.kind() != b.kind()) return heap.no_such_overload(kNames[static_cast<int>(relation)], operands);
  switch (a.kind()) {
    case ValueKind::kBool: return Value::of(holds<relation>(order_of<int>(a.boolean(), b.boolean())));
    case ValueKind::kString:
    case ValueKind::kBytes:
      heap.charge_text(std::min(a.text().size(), b.text().size()));
      return Value::of(holds<relation>(a.text().compare(b.text())));
    case ValueKind::kDuration: return Value::of(holds<relation>(order_of(a.duration_nanos(), b.duration_nanos())));
    case ValueKind::kTimestamp:
      return Value::of(holds<relation>(order_of(std::pair(a.seconds(), a.nanos()), std::pair(b.seconds(), b.nanos()))));
    default: return heap.no_such_overload(kNames[static_cast<int>(relation)], operands);
  }
}

Value equals(Heap& heap, Operands operands) { return Value::of(equal(operands[0], operands[1], heap)); }
Value not_equals(Heap& heap, Operands operands) { return Value::of(!equal(operands[0], operands[1], heap)); }

bool is_in_list(Heap& heap, const Value& wanted, const Value& list) {
  for (size_t i = 0; i < list.size(); ++i) {
    if (equal(wanted, list.at(i), heap)) return true;
    if (heap.has_ended()) return false;
  }
  return false;
}

Value is_in(Heap& heap, Operands operands) {
  const auto& [wanted, range] = std::tie(operands[0], operands[1]);
  if (range.is(ValueKind::kList)) return Value::of(is_in_list(heap, wanted, range));
  if (range.is(ValueKind::kMap)) return Value::of(!range.find(wanted).is(ValueKind::kUnbound));
  return heap.no_such_overload("in", operands);
}

// A number of any type that is whole.
std::optional<int64_t> position_of(const Value& index) {
  if (index.is(ValueKind::kInt)) return index.integer();
  if (!index.is_number()) return std::nullopt;
  const Value limit = Value::of(std::numeric_limits<int64_t>::max());
  if (index.is(ValueKind::kUint)) return order_of_numbers(index, limit) > 0 ? limit.integer() : index.natural();
  const double real = index.real();
  if (!(real > -9e15 && real < 9e15) || real != static_cast<double>(static_cast<int64_t>(real))) return std::nullopt;
  return static_cast<int64_t>(real);
}

Value index(Heap& heap, Operands operands) {
  const auto& [range, key] = std::tie(operands[0], operands[1]);
  if (range.is(ValueKind::kMap)) {
    const Value found = range.find(key);
    if (!found.is(ValueKind::kUnbound)) return found;
    return heap.fail(ErrorKind::kNoSuchKey, "no such key: {}",
                     key.is(ValueKind::kString) ? std::string(shorten(key.text(), 200)) : describe(key));
  }
  const auto position = range.is(ValueKind::kList) ? position_of(key) : std::nullopt;
  if (!position) return heap.no_such_overload("[]", operands);
  if (*position >= 0 && static_cast<uint64_t>(*position) < range.size())
    return range.at(static_cast<size_t>(*position));
  return heap.fail(ErrorKind::kIndexOutOfRange, "index out of bounds: {}", *position);
}

bool equal_lists(const Value& a, const Value& b, Heap& heap) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!equal(a.at(i), b.at(i), heap)) return false;
  }
  return true;
}

bool equal_maps(const Value& a, const Value& b, Heap& heap) {
  if (a.size() != b.size()) return false;
  const auto is_equal = [&](const Value& key, const Value& value) {
    const Value other = b.find(key);
    return !other.is(ValueKind::kUnbound) && equal(value, other, heap);
  };
  if (const auto* json = a.json_fields()) {
    const auto& fields = json->fields();
    return std::all_of(fields.begin(), fields.end(), [&](const auto& field) {
      return is_equal(Value::text(field.first), Value::json(field.second));
    });
  }
  const auto entries = a.entries();
  return std::all_of(entries.begin(), entries.end(),
                     [&](const MapEntry& entry) { return is_equal(entry.key, entry.value); });
}

}  // namespace

bool equal(const Value& a, const Value& b, Heap& heap) {
  if (!heap.charge(1)) return false;
  if (a.is_number() && b.is_number()) return order_of_numbers(a, b) == 0;
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case ValueKind::kBool: return a.boolean() == b.boolean();
    case ValueKind::kString:
    case ValueKind::kBytes:
    case ValueKind::kType:
      return a.text().size() == b.text().size() && heap.charge_text(a.text().size()) && a.text() == b.text();
    case ValueKind::kList: return equal_lists(a, b, heap);
    case ValueKind::kMap: return equal_maps(a, b, heap);
    case ValueKind::kTimestamp: return a.seconds() == b.seconds() && a.nanos() == b.nanos();
    case ValueKind::kDuration: return a.duration_nanos() == b.duration_nanos();
    default: return true;
  }
}

Function find_binary(std::string_view function) {
  constexpr std::pair<std::string_view, Function> kBinary[] = {{"_==_", equals},
                                                               {"_!=_", not_equals},
                                                               {"_<_", compare<Relation::kLess>},
                                                               {"_<=_", compare<Relation::kLessEquals>},
                                                               {"_>_", compare<Relation::kGreater>},
                                                               {"_>=_", compare<Relation::kGreaterEquals>},
                                                               {"@in", is_in},
                                                               {"_[_]", index},
                                                               {"_+_", add},
                                                               {"_-_", subtract},
                                                               {"_*_", multiply},
                                                               {"_/_", divide},
                                                               {"_%_", modulo}};
  for (const auto& [name, operation] : kBinary) {
    if (name == function) return operation;
  }
  return nullptr;
}

Function find_function(std::string_view function, bool method, size_t arguments) {
  for (const auto table : {text_functions(), conversions(), time_functions()}) {
    for (const Callee& callee : table) {
      if (callee.name == function && (method ? callee.as_method : callee.as_function) &&
          arguments >= callee.arguments_min && arguments <= callee.arguments_max) {
        return callee.function;
      }
    }
  }
  return nullptr;
}

}  // namespace headgate::engine::cel
