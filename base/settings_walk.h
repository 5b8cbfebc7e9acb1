// For readers of a description of settings that need to know where in it they are.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/settings.h"

namespace headgate {

// Enters every section, and as many elements of a list as there are.
class SettingsWalk : public Settings {
 protected:
  // From the outermost section to the present one; an element of a list is its number.
  const std::vector<std::string>& words() const { return words_; }

  bool enter(std::string_view key) override {
    words_.emplace_back(key);
    return true;
  }
  void leave() override { words_.pop_back(); }
  size_t enter_list(std::string_view key, size_t present) override {
    words_.emplace_back(key);
    return present;
  }
  void enter_element(size_t index) override { words_.push_back(std::to_string(index)); }
  void leave_list() override { words_.pop_back(); }

 private:
  std::vector<std::string> words_;
};

}  // namespace headgate
