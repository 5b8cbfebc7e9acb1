#include "engine/cel/heap.h"

namespace headgate::engine::cel {
namespace {

// Between two looks at the clock.
constexpr int64_t kStepsPerLook = 4096;
constexpr size_t kErrorTextMax = 300;

constexpr ValueError kOutOfSteps{ErrorKind::kTooManySteps, "the expression takes too many steps"};
constexpr ValueError kOutOfTime{ErrorKind::kDeadline, "the time for the expression is over"};
constexpr ValueError kOutOfMemory{ErrorKind::kTooMuchMemory, "the expression makes texts or lists that are too large"};

}  // namespace

bool Heap::end(const ValueError& why) {
  if (end_ == nullptr) end_ = &why;
  left_ = 0;
  fuel_ = -1;
  return false;
}

bool Heap::refill() {
  if (has_ended()) return end(*end_);
  const int64_t over = fuel_ < 0 ? -fuel_ : 0;
  if (over > left_) return end(kOutOfSteps);
  left_ -= over;
  const bool has_deadline = limits_.deadline != std::chrono::steady_clock::time_point::max();
  if (has_deadline && std::chrono::steady_clock::now() >= limits_.deadline) return end(kOutOfTime);
  fuel_ = std::min(left_, kStepsPerLook);
  left_ -= fuel_;
  return true;
}

void* Heap::take(size_t size, size_t alignment) {
  if (has_ended()) return nullptr;
  if (size > limits_.bytes_max - taken_) {
    end(kOutOfMemory);
    return nullptr;
  }
  taken_ += size;
  return memory_.allocate(size, alignment);
}

char* Heap::bytes(size_t size) { return charge_text(size) ? static_cast<char*>(take(size, 1)) : nullptr; }

Value* Heap::values(size_t count) {
  if (!charge_text(count * sizeof(Value))) return nullptr;
  auto* made = static_cast<Value*>(take(count * sizeof(Value), alignof(Value)));
  return made == nullptr ? nullptr : std::uninitialized_default_construct_n(made, count) - count;
}

MapEntry* Heap::entries(size_t count) {
  if (!charge_text(count * sizeof(MapEntry))) return nullptr;
  auto* made = static_cast<MapEntry*>(take(count * sizeof(MapEntry), alignof(MapEntry)));
  return made == nullptr ? nullptr : std::uninitialized_default_construct_n(made, count) - count;
}

Value* Heap::attribute_values(size_t count) {
  if (has_ended()) return nullptr;
  auto* made = static_cast<Value*>(memory_.allocate(count * sizeof(Value), alignof(Value)));
  return std::uninitialized_default_construct_n(made, count) - count;
}

Value Heap::text(std::string_view text, ValueKind kind) {
  char* copy = bytes(text.size());
  if (copy == nullptr) return ended();
  std::copy(text.begin(), text.end(), copy);
  const std::string_view kept(copy, text.size());
  return kind == ValueKind::kString ? Value::text(kept) : Value::bytes(kept);
}

Value Heap::join(const Value& a, const Value& b) {
  const std::string_view first = a.text();
  const std::string_view second = b.text();
  char* joined = bytes(first.size() + second.size());
  if (joined == nullptr) return ended();
  std::copy(second.begin(), second.end(), std::copy(first.begin(), first.end(), joined));
  const std::string_view kept(joined, first.size() + second.size());
  return a.is(ValueKind::kString) ? Value::text(kept) : Value::bytes(kept);
}

Value Heap::fail_with(ErrorKind kind, std::string_view text) {
  const size_t length = shorten(text, kErrorTextMax).size();
  char* copy = bytes(length);
  void* place = copy == nullptr ? nullptr : take(sizeof(ValueError), alignof(ValueError));
  if (place == nullptr) return ended();
  std::copy(text.begin(), text.begin() + static_cast<ptrdiff_t>(length), copy);
  return Value::error(*std::construct_at(static_cast<ValueError*>(place), ValueError{kind, {copy, length}}));
}

Value Heap::no_such_overload(std::string_view function, std::span<const Value> arguments) {
  std::vector<std::string_view> kinds;
  for (const Value& argument : arguments) kinds.push_back(type_name(argument.kind()));
  return fail(ErrorKind::kNoSuchOverload, "no such overload: {}({})", function, fmt::join(kinds, ", "));
}

}  // namespace headgate::engine::cel
