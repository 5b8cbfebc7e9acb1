#include "ops/demo/changes.h"

#include <chrono>

namespace headgate::demo {

std::string text_of(const base::v1::Tuple& tuple) {
  std::string text = tuple.entity().type() + ":" + tuple.entity().id() + "#" + tuple.relation() + "@" +
                     tuple.subject().type() + ":" + tuple.subject().id();
  if (!tuple.subject().relation().empty()) text += "#" + tuple.subject().relation();
  return text;
}

std::string text_of(const base::v1::Attribute& attribute) {
  return attribute.entity().type() + ":" + attribute.entity().id() + "$" + attribute.attribute();
}

std::multiset<std::string> texts_of(const base::v1::DataChanges& changes) {
  std::multiset<std::string> texts;
  for (const base::v1::DataChange& change : changes.data_changes()) {
    const std::string sign = change.operation() == base::v1::DataChange::OPERATION_DELETE ? "-" : "+";
    texts.insert(sign + (change.has_attribute() ? text_of(change.attribute()) : text_of(change.tuple())));
  }
  return texts;
}

int64_t unix_us() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::microseconds>(now).count();
}

}  // namespace headgate::demo
