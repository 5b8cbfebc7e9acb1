// Commands in Redis' own form, put together away from a connection: what is written here is not sent by itself.
#pragma once

#include <charconv>
#include <cstring>
#include <initializer_list>
#include <string>
#include <string_view>

namespace headgate::redis {

// A pure value; clear() keeps the memory, unless it is much.
class RespCommands {
 public:
  void clear() {
    size_ = count_ = 0;
    if (buffer_.capacity() > kKeptBytes) std::string().swap(buffer_);
  }
  // Begins a command; so many argument() follow.
  void begin(size_t arguments) {
    char* at = room(0);
    at = header(at, '*', arguments);
    size_ = static_cast<size_t>(at - buffer_.data());
    ++count_;
  }
  // Dozens of these make one event, so each is written in one go.
  void argument(std::string_view text) {
    char* at = room(text.size());
    at = header(at, '$', text.size());
    if (!text.empty()) std::memcpy(at, text.data(), text.size());
    at = end_line(at + text.size());
    size_ = static_cast<size_t>(at - buffer_.data());
  }
  void command(std::initializer_list<std::string_view> arguments) {
    begin(arguments.size());
    for (const std::string_view text : arguments) argument(text);
  }

  std::string_view text() const { return {buffer_.data(), size_}; }
  size_t count() const { return count_; }

 private:
  static constexpr size_t kFrame = 32;  // a header with its number, and the ends of two lines
  static constexpr size_t kKeptBytes = 1 << 20;

  // Where so many bytes and a frame around them fit.
  char* room(size_t bytes) {
    if (buffer_.size() < size_ + bytes + kFrame) buffer_.resize(2 * buffer_.size() + bytes + kFrame);
    return buffer_.data() + size_;
  }
  static char* header(char* at, char kind, size_t number) {
    *at++ = kind;
    return end_line(std::to_chars(at, at + kFrame, number).ptr);
  }
  static char* end_line(char* at) {
    *at++ = '\r';
    *at++ = '\n';
    return at;
  }

  std::string buffer_;  // its first size_ bytes are in use
  size_t size_ = 0;
  size_t count_ = 0;
};

}  // namespace headgate::redis
