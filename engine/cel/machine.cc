// Walks the tree of an expression.
#include "engine/cel/functions.h"
#include "engine/cel/program.h"

namespace headgate::engine::cel {
namespace {

constexpr size_t kSlotsInline = 16;
constexpr size_t kArgumentsMax = 3;

class Machine {
 public:
  Machine(Value* slots, Heap& heap) : slots_(slots), heap_(heap) {}

  Value eval(const Step& step) {
    if (!heap_.charge(1)) return heap_.ended();
    switch (step.operation) {
      case Operation::kConstant: return step.constant;
      case Operation::kVariable: {
        const Value& value = slots_[step.slot];
        return value.is(ValueKind::kUnbound) ? unknown_name(step) : value;
      }
      case Operation::kBinary: return eval_binary(step);
      case Operation::kAnd: return eval_logic(step, false);
      case Operation::kOr: return eval_logic(step, true);
      case Operation::kNot: return eval_not(step);
      case Operation::kChoice: return eval_choice(step);
      case Operation::kSelect: return eval_select(step);
      case Operation::kHas: return eval_has(step);
      case Operation::kCall: return eval_call(step);
      case Operation::kMatches: return eval_matches(step);
      case Operation::kList: return eval_list(step);
      case Operation::kMap: return eval_map(step);
      case Operation::kAll: return eval_any(step, false);
      case Operation::kExists: return eval_any(step, true);
      case Operation::kExistsOne: return eval_exists_one(step);
      case Operation::kCollect: return eval_collect(step);
      case Operation::kUnknownName: return unknown_name(step);
      case Operation::kUnknownFunction: return unknown_function(step);
    }
    return Value::null();
  }

 private:
  [[gnu::noinline]] Value unknown_name(const Step& step) {
    return heap_.fail(ErrorKind::kUnboundVariable, "no such attribute(s): {}", step.constant.text());
  }
  [[gnu::noinline]] Value unknown_function(const Step& step) {
    return heap_.fail(ErrorKind::kNoSuchOverload, "no such overload: there is no function {}", step.constant.text());
  }
  [[gnu::noinline]] Value no_such_key(const Step& step) {
    return heap_.fail(ErrorKind::kNoSuchKey, "no such key: {}", step.constant.text());
  }
  [[gnu::noinline]] Value no_such_overload(std::string_view function, const Value& value) {
    return value.is_error() ? value : heap_.no_such_overload(function, {&value, 1});
  }

  [[gnu::noinline]] Value eval_binary(const Step& step) {
    const std::array<Value, 2> operands = {eval(*step.a), eval(*step.b)};
    if (operands[0].is_error()) return operands[0];
    if (operands[1].is_error()) return operands[1];
    return step.function(heap_, operands);
  }

  // && and ||: the value that decides makes up for whatever stands on the other side.
  [[gnu::noinline]] Value eval_logic(const Step& step, bool decides) {
    const Value left = eval(*step.a);
    if (left.is(ValueKind::kBool) && left.boolean() == decides) return left;
    const Value right = eval(*step.b);
    if (right.is(ValueKind::kBool) && (right.boolean() == decides || left.is(ValueKind::kBool))) {
      return heap_.has_ended() ? heap_.ended() : right.boolean() == decides ? right : left;
    }
    const Value& wrong = left.is(ValueKind::kBool) || (!left.is_error() && right.is_error()) ? right : left;
    return no_such_overload(decides ? "||" : "&&", wrong);
  }

  [[gnu::noinline]] Value eval_not(const Step& step) {
    const Value value = eval(*step.a);
    return value.is(ValueKind::kBool) ? Value::of(!value.boolean()) : no_such_overload("!", value);
  }

  [[gnu::noinline]] Value eval_choice(const Step& step) {
    const Value condition = eval(*step.a);
    if (!condition.is(ValueKind::kBool)) return no_such_overload("?:", condition);
    return eval(condition.boolean() ? *step.b : *step.c);
  }

  [[gnu::noinline]] Value eval_select(const Step& step) {
    const Value map = eval(*step.a);
    if (!map.is(ValueKind::kMap)) return no_such_overload(".", map);
    const Value found = map.find(step.constant);
    return found.is(ValueKind::kUnbound) ? no_such_key(step) : found;
  }

  [[gnu::noinline]] Value eval_has(const Step& step) {
    const Value map = eval(*step.a);
    if (!map.is(ValueKind::kMap)) return no_such_overload("has", map);
    return Value::of(!map.find(step.constant).is(ValueKind::kUnbound));
  }

  [[gnu::noinline]] Value eval_call(const Step& step) {
    std::array<Value, kArgumentsMax> arguments;
    for (size_t i = 0; i < step.more.size(); ++i) {
      arguments[i] = eval(*step.more[i]);
      if (arguments[i].is_error()) return arguments[i];
    }
    return step.function(heap_, {arguments.data(), step.more.size()});
  }

  [[gnu::noinline]] Value eval_matches(const Step& step) {
    const Value text = eval(*step.a);
    return text.is(ValueKind::kString) ? match(heap_, text, *step.pattern) : no_such_overload("matches", text);
  }

  [[gnu::noinline]] Value eval_list(const Step& step) {
    Value* elements = heap_.values(step.more.size());
    if (elements == nullptr) return heap_.ended();
    for (size_t i = 0; i < step.more.size(); ++i) {
      elements[i] = eval(*step.more[i]);
      if (elements[i].is_error()) return elements[i];
    }
    return Value::list({elements, step.more.size()});
  }

  [[gnu::noinline]] Value eval_map(const Step& step) {
    const size_t count = step.more.size() / 2;
    MapEntry* entries = heap_.entries(count);
    if (entries == nullptr) return heap_.ended();
    for (size_t i = 0; i < count; ++i) {
      entries[i] = {eval(*step.more[2 * i]), eval(*step.more[2 * i + 1])};
      if (entries[i].key.is_error()) return entries[i].key;
      if (entries[i].value.is_error()) return entries[i].value;
      const ValueKind kind = entries[i].key.kind();
      if (kind == ValueKind::kBool || kind == ValueKind::kInt || kind == ValueKind::kUint ||
          kind == ValueKind::kString) {
        continue;
      }
      return heap_.fail(ErrorKind::kUnsupportedKey, "unsupported key type: {}", type_name(kind));
    }
    std::sort(entries, entries + count,
              [](const MapEntry& a, const MapEntry& b) { return order_of_keys(a.key, b.key) < 0; });
    const auto twice = std::adjacent_find(entries, entries + count, [](const MapEntry& a, const MapEntry& b) {
      return order_of_keys(a.key, b.key) == 0;
    });
    if (twice == entries + count) return Value::map({entries, count});
    return heap_.fail(ErrorKind::kRepeatedKey, "the key {} stands twice in a map", describe(twice->key));
  }

  // The elements of a list, or the keys of a map in their order.
  [[gnu::noinline]] Value range_of(const Step& step) {
    const Value range = eval(*step.a);
    if (range.is(ValueKind::kList)) return range;
    if (!range.is(ValueKind::kMap)) return no_such_overload("a loop", range);
    Value* keys = heap_.values(range.size());
    if (keys == nullptr) return heap_.ended();
    if (const auto* json = range.json_fields()) {
      size_t count = 0;
      for (const auto& field : json->fields()) keys[count++] = Value::text(field.first);
      std::sort(keys, keys + count, [](const Value& a, const Value& b) { return order_of_keys(a, b) < 0; });
    } else {
      const auto entries = range.entries();
      std::transform(entries.begin(), entries.end(), keys, [](const MapEntry& entry) { return entry.key; });
    }
    return Value::list({keys, range.size()});
  }

  // all and exists: as if the conditions were joined by && or ||.
  [[gnu::noinline]] Value eval_any(const Step& step, bool decides) {
    const Value range = range_of(step);
    if (range.is_error()) return range;
    Value result = Value::of(!decides);
    for (size_t i = 0; i < range.size() && !heap_.has_ended(); ++i) {
      slots_[step.slot] = range.at(i);
      const Value condition = eval(*step.b);
      if (!condition.is(ValueKind::kBool)) {
        if (!result.is_error()) result = no_such_overload(decides ? "||" : "&&", condition);
      } else if (condition.boolean() == decides) {
        return condition;
      }
    }
    return heap_.has_ended() ? heap_.ended() : result;
  }

  [[gnu::noinline]] Value eval_exists_one(const Step& step) {
    const Value range = range_of(step);
    if (range.is_error()) return range;
    size_t count = 0;
    for (size_t i = 0; i < range.size(); ++i) {
      slots_[step.slot] = range.at(i);
      const Value condition = eval(*step.b);
      if (!condition.is(ValueKind::kBool)) return no_such_overload("exists_one", condition);
      if (condition.boolean()) ++count;
    }
    return Value::of(count == 1);
  }

  // map and filter.
  [[gnu::noinline]] Value eval_collect(const Step& step) {
    const Value range = range_of(step);
    if (range.is_error()) return range;
    Value* elements = heap_.values(range.size());
    if (elements == nullptr) return heap_.ended();
    size_t count = 0;
    for (size_t i = 0; i < range.size(); ++i) {
      slots_[step.slot] = range.at(i);
      if (step.b != nullptr) {
        const Value condition = eval(*step.b);
        if (!condition.is(ValueKind::kBool)) return no_such_overload("?:", condition);
        if (!condition.boolean()) continue;
      }
      const Value element = eval(*step.c);
      if (element.is_error()) return element;
      elements[count++] = element;
    }
    return Value::list({elements, count});
  }

  Value* slots_;
  Heap& heap_;
};

}  // namespace

Value Program::run(std::span<const Value> values, Heap& heap) const {
  std::array<Value, kSlotsInline> inline_slots;
  Value* slots = slots_ <= kSlotsInline ? inline_slots.data() : heap.values(slots_);
  if (slots == nullptr) return heap.ended();
  std::copy_n(values.begin(), std::min(values.size(), variables_.size()), slots);
  const Value result = Machine(slots, heap).eval(*root_);
  return heap.has_ended() ? heap.ended() : result;
}

}  // namespace headgate::engine::cel
