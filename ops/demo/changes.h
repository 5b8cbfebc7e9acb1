// Texts for changes, the same for what is written and for what arrives, so that both can be compared.
#pragma once

#include <set>
#include <string>

#include "base/v1/base.pb.h"

namespace headgate::demo {

// "document:a#viewer@user:ann", "document:a$public".
std::string text_of(const base::v1::Tuple& tuple);
std::string text_of(const base::v1::Attribute& attribute);
// "+" for a creation and "-" for a deletion before each text.
std::multiset<std::string> texts_of(const base::v1::DataChanges& changes);

int64_t unix_us();

}  // namespace headgate::demo
