// What one evaluation may use: steps, time, and the memory of the texts, lists and maps that it makes.
#pragma once

#include <chrono>
#include <memory_resource>

#include "base/status.h"
#include "engine/cel/value.h"

namespace headgate::engine::cel {

// A step is one operator, one element of a list that is gone through, or some 16 bytes of text that are read or made:
// about 10 ns. The bytes are those made by the expression; what the caller binds is not counted.
struct Limits {
  int64_t steps_max = 1'000'000;
  size_t bytes_max = 4 << 20;
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

// Of one thread. Everything made here lives as long as the heap.
class Heap {
 public:
  explicit Heap(const Limits& limits = {}) : limits_(limits), left_(limits.steps_max) { refill(); }
  Heap(const Heap&) = delete;
  Heap& operator=(const Heap&) = delete;

  // False when the steps or the time are used up; then the evaluation is over, see ended().
  bool charge(int64_t steps) {
    fuel_ -= steps;
    return fuel_ >= 0 || refill();
  }
  bool charge_text(size_t bytes) { return charge(1 + static_cast<int64_t>(bytes / 16)); }

  bool has_ended() const { return end_ != nullptr; }
  // REQUIRES: has_ended().
  Value ended() const { return Value::error(*end_); }

  // Null when the memory is used up; then the evaluation is over.
  char* bytes(size_t size);
  Value* values(size_t count);
  MapEntry* entries(size_t count);
  // Of what the caller brought: outside of the limits.
  Value* attribute_values(size_t count);

  // A copy, of text that does not live long enough.
  Value text(std::string_view text, ValueKind kind = ValueKind::kString);
  Value join(const Value& a, const Value& b);  // of two texts or two byte strings

  template <typename... Args>
  Value fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
    return fail_with(kind, fmt::format(format, std::forward<Args>(args)...));
  }
  // Between these kinds, "no such overload: int + string".
  Value no_such_overload(std::string_view function, std::span<const Value> arguments);

 private:
  bool refill();
  bool end(const ValueError& why);
  void* take(size_t size, size_t alignment);
  Value fail_with(ErrorKind kind, std::string_view text);

  Limits limits_;
  int64_t left_;
  int64_t fuel_ = 0;
  size_t taken_ = 0;
  const ValueError* end_ = nullptr;
  alignas(std::max_align_t) std::array<std::byte, 1024> first_;
  std::pmr::monotonic_buffer_resource memory_{first_.data(), first_.size()};
};

}  // namespace headgate::engine::cel
