// Commands in Redis' own form, put together away from a connection: what is written here is not sent by itself.
#pragma once

#include <charconv>
#include <initializer_list>
#include <string>
#include <string_view>

namespace headgate::sinks {

// A pure value; clear() keeps the memory.
class RespCommands {
 public:
  void clear() {
    text_.clear();
    count_ = 0;
  }
  // Begins a command; so many argument() follow.
  void begin(size_t arguments) {
    header('*', arguments);
    ++count_;
  }
  void argument(std::string_view text) {
    header('$', text.size());
    text_.append(text);
    text_.append("\r\n");
  }
  void command(std::initializer_list<std::string_view> arguments) {
    begin(arguments.size());
    for (const std::string_view text : arguments) argument(text);
  }

  const std::string& text() const { return text_; }
  size_t count() const { return count_; }

 private:
  void header(char kind, size_t number) {
    char digits[24];
    const auto end = std::to_chars(digits, digits + sizeof(digits), number).ptr;
    text_ += kind;
    text_.append(digits, end);
    text_.append("\r\n");
  }

  std::string text_;
  size_t count_ = 0;
};

}  // namespace headgate::sinks
