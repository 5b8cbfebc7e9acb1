// Functions of texts, and what goes for lists and maps, too.
#include <cstring>

#include "engine/cel/functions.h"

namespace headgate::engine::cel {
namespace {

using Arguments = std::span<const Value>;

// Of a compiled pattern; RE2 itself refuses what would be larger.
constexpr int64_t kPatternBytesMax = 1 << 20;

size_t count_characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

bool are_texts(Arguments arguments) {
  return arguments[0].is(ValueKind::kString) && arguments[1].is(ValueKind::kString);
}

Value size_of(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  switch (value.kind()) {
    case ValueKind::kString:
      if (!heap.charge_text(value.text().size())) return heap.ended();
      return Value::of(static_cast<int64_t>(count_characters(value.text())));
    case ValueKind::kBytes: return Value::of(static_cast<int64_t>(value.text().size()));
    case ValueKind::kList:
    case ValueKind::kMap: return Value::of(static_cast<int64_t>(value.size()));
    default: return heap.no_such_overload("size", arguments);
  }
}

Value contains(Heap& heap, Arguments arguments) {
  if (!are_texts(arguments)) return heap.no_such_overload("contains", arguments);
  const std::string_view text = arguments[0].text();
  const std::string_view part = arguments[1].text();
  if (!heap.charge_text(text.size() + part.size())) return heap.ended();
  // Linear also for texts of one letter, which string_view::find is not.
  return Value::of(part.empty() || memmem(text.data(), text.size(), part.data(), part.size()) != nullptr);
}

Value starts_with(Heap& heap, Arguments arguments) {
  if (!are_texts(arguments)) return heap.no_such_overload("startsWith", arguments);
  if (!heap.charge_text(arguments[1].text().size())) return heap.ended();
  return Value::of(arguments[0].text().starts_with(arguments[1].text()));
}

Value ends_with(Heap& heap, Arguments arguments) {
  if (!are_texts(arguments)) return heap.no_such_overload("endsWith", arguments);
  if (!heap.charge_text(arguments[1].text().size())) return heap.ended();
  return Value::of(arguments[0].text().ends_with(arguments[1].text()));
}

// What compiling costs: 30 ns for each instruction that comes of it, and some milliseconds before RE2 finds that there
// would be too many.
int64_t steps_to_compile(const re2::RE2& pattern) {
  if (pattern.ok()) return 20 * int64_t{pattern.ProgramSize()};
  return pattern.error_code() == re2::RE2::ErrorPatternTooLarge ? 500'000 : 0;
}

// With a pattern that is not kept compiled.
Value matches(Heap& heap, Arguments arguments) {
  if (!are_texts(arguments)) return heap.no_such_overload("matches", arguments);
  const std::string_view text = arguments[1].text();
  if (!heap.charge(200 + 50 * static_cast<int64_t>(text.size()))) return heap.ended();
  const re2::RE2 pattern(re2::StringPiece(text.data(), text.size()), pattern_options());
  if (!heap.charge(steps_to_compile(pattern))) return heap.ended();
  return match(heap, arguments[0], pattern);
}

Value negate(Heap& heap, Arguments arguments) {
  const Value& value = arguments[0];
  if (value.is(ValueKind::kDouble)) return Value::of(-value.real());
  if (!value.is(ValueKind::kInt)) return heap.no_such_overload("-", arguments);
  if (value.integer() != std::numeric_limits<int64_t>::min()) return Value::of(-value.integer());
  return heap.fail(ErrorKind::kOverflow, "integer overflow");
}

}  // namespace

re2::RE2::Options pattern_options() {
  re2::RE2::Options options;
  options.set_log_errors(false);
  options.set_max_mem(kPatternBytesMax);
  return options;
}

Value match(Heap& heap, const Value& text, const re2::RE2& pattern) {
  if (!pattern.ok()) return heap.fail(ErrorKind::kPattern, "this pattern cannot be used: {}", pattern.error());
  // At worst RE2 looks at each instruction for each byte, and takes 2 ns for that.
  const auto size = static_cast<int64_t>(text.text().size());
  if (!heap.charge(2 + size / 16 + size * pattern.ProgramSize() / 64)) return heap.ended();
  return Value::of(re2::RE2::PartialMatch(re2::StringPiece(text.text().data(), text.text().size()), pattern));
}

std::span<const Callee> text_functions() {
  static constexpr Callee kFunctions[] = {
      {"-_", true, false, 1, 1, negate},          {"size", true, true, 1, 1, size_of},
      {"contains", false, true, 2, 2, contains},  {"startsWith", false, true, 2, 2, starts_with},
      {"endsWith", false, true, 2, 2, ends_with}, {"matches", true, true, 2, 2, matches}};
  return kFunctions;
}

bool is_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const auto first = static_cast<unsigned char>(text[at]);
    const size_t length = first < 0x80 ? 1 : first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first >= 0x80 && (first < 0xC2 || first > 0xF4)) return false;
    if (at + length > text.size()) return false;
    for (size_t i = 1; i < length; ++i) {
      if ((static_cast<unsigned char>(text[at + i]) & 0xC0) != 0x80) return false;
    }
    const auto second = length > 1 ? static_cast<unsigned char>(text[at + 1]) : 0;
    const bool overlong = (first == 0xE0 && second < 0xA0) || (first == 0xF0 && second < 0x90);
    const bool outside = (first == 0xED && second > 0x9F) || (first == 0xF4 && second > 0x8F);
    if (overlong || outside) return false;
    at += length;
  }
  return true;
}

}  // namespace headgate::engine::cel
