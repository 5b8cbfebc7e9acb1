// A line in front of workers: first in, first out, bounded by number and bytes. What it refuses is handed back. Pure,
// not thread-safe: it stands beside the mutex that guards it.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

namespace headgate {

struct LineBounds {
  size_t items_max;
  size_t bytes_max;
};

template <typename T>
class Line {
 public:
  explicit Line(LineBounds bounds) : bounds_(bounds) {}

  // The item again when there is no room for it, else nothing. `bytes`: what it holds while it waits; one of any size
  // has room when nobody waits.
  [[nodiscard]] std::optional<T> push(T item, size_t bytes) {
    const bool full = places_.size() >= bounds_.items_max || (!places_.empty() && bytes_ + bytes > bounds_.bytes_max);
    if (full) return item;
    push_always(std::move(item), bytes);
    return std::nullopt;
  }
  // For what is under way already and may not be refused.
  void push_always(T item, size_t bytes) {
    bytes_ += bytes;
    places_.push_back({std::move(item), bytes});
  }

  bool empty() const { return places_.empty(); }
  size_t size() const { return places_.size(); }
  size_t bytes() const { return bytes_; }
  // REQUIRES: not empty.
  const T& front() const { return places_.front().item; }
  T pop() {
    Place first = std::move(places_.front());
    places_.pop_front();
    bytes_ -= first.bytes;
    return std::move(first.item);
  }

 private:
  struct Place {
    T item;
    size_t bytes;
  };

  const LineBounds bounds_;
  std::deque<Place> places_;
  size_t bytes_ = 0;
};

}  // namespace headgate
