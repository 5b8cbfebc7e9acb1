#include "engine/cel/library.h"

#include <map>

#include "base/status.h"

#include "base/status.h"

namespace headgate::engine::cel {
namespace {

using Library = std::map<std::string, std::vector<Overload>, std::less<>>;

void add_operators(Library& library) {
  library["!_"] = {{"logical_not", "b>b"}};
  library["-_"] = {{"negate_double", "d>d"}, {"negate_int64", "i>i"}};
  library["_&&_"] = {{"logical_and", "bb>b"}};
  library["_||_"] = {{"logical_or", "bb>b"}};
  library["_?_:_"] = {{"conditional", "bAA>A"}};
  library["@not_strictly_false"] = {{"not_strictly_false", "b>b"}};
  library["@in"] = {{"in_list", "ALA>b"}, {"in_map", "AMAB>b"}};
  library["_[_]"] = {{"index_list", "LAi>A"}, {"index_map", "MABA>B"}};
  library["_==_"] = {{"equals", "AA>b"}};
  library["_!=_"] = {{"not_equals", "AA>b"}};
}

void add_arithmetic(Library& library) {
  library["_+_"] = {{"add_bytes", "yy>y"},
                    {"add_double", "dd>d"},
                    {"add_duration_duration", "rr>r"},
                    {"add_duration_timestamp", "rt>t"},
                    {"add_timestamp_duration", "tr>t"},
                    {"add_int64", "ii>i"},
                    {"add_list", "LALA>LA"},
                    {"add_string", "ss>s"},
                    {"add_uint64", "uu>u"}};
  library["_-_"] = {{"subtract_double", "dd>d"},
                    {"subtract_duration_duration", "rr>r"},
                    {"subtract_int64", "ii>i"},
                    {"subtract_timestamp_duration", "tr>t"},
                    {"subtract_timestamp_timestamp", "tt>r"},
                    {"subtract_uint64", "uu>u"}};
  library["_*_"] = {{"multiply_double", "dd>d"}, {"multiply_int64", "ii>i"}, {"multiply_uint64", "uu>u"}};
  library["_/_"] = {{"divide_double", "dd>d"}, {"divide_int64", "ii>i"}, {"divide_uint64", "uu>u"}};
  library["_%_"] = {{"modulo_int64", "ii>i"}, {"modulo_uint64", "uu>u"}};
}

void add_comparisons(Library& library) {
  constexpr std::pair<std::string_view, std::string_view> kFunctions[] = {
      {"_<_", "less"}, {"_<=_", "less_equals"}, {"_>_", "greater"}, {"_>=_", "greater_equals"}};
  struct Operands {
    std::string_view name, letters;
  };
  constexpr Operands kOperands[] = {{"bool", "bb"},          {"int64", "ii"},   {"int64_double", "id"},
                                    {"int64_uint64", "iu"},  {"uint64", "uu"},  {"uint64_double", "ud"},
                                    {"uint64_int64", "ui"},  {"double", "dd"},  {"double_int64", "di"},
                                    {"double_uint64", "du"}, {"string", "ss"},  {"bytes", "yy"},
                                    {"timestamp", "tt"},     {"duration", "rr"}};
  for (const auto& [function, name] : kFunctions) {
    auto& overloads = library[std::string(function)];
    for (const auto& [operands, letters] : kOperands) {
      overloads.push_back(
          {fmt::format("{}_{}", name, operands), fmt::format("{}>b", letters), letters[0] != letters[1]});
    }
  }
}

void add_conversions(Library& library) {
  library["bool"] = {{"bool_to_bool", "b>b"}, {"string_to_bool", "s>b"}};
  library["bytes"] = {{"bytes_to_bytes", "y>y"}, {"string_to_bytes", "s>y"}};
  library["double"] = {{"double_to_double", "d>d"},
                       {"int64_to_double", "i>d"},
                       {"string_to_double", "s>d"},
                       {"uint64_to_double", "u>d"}};
  library["duration"] = {{"duration_to_duration", "r>r"}, {"string_to_duration", "s>r"}};
  library["dyn"] = {{"to_dyn", "A>*"}};
  library["int"] = {{"int64_to_int64", "i>i"},  {"double_to_int64", "d>i"},    {"duration_to_int64", "r>i"},
                    {"string_to_int64", "s>i"}, {"timestamp_to_int64", "t>i"}, {"uint64_to_int64", "u>i"}};
  library["string"] = {{"string_to_string", "s>s"},    {"bool_to_string", "b>s"},     {"bytes_to_string", "y>s"},
                       {"double_to_string", "d>s"},    {"duration_to_string", "r>s"}, {"int64_to_string", "i>s"},
                       {"timestamp_to_string", "t>s"}, {"uint64_to_string", "u>s"}};
  library["timestamp"] = {
      {"timestamp_to_timestamp", "t>t"}, {"int64_to_timestamp", "i>t"}, {"string_to_timestamp", "s>t"}};
  library["type"] = {{"type", "A>TA"}};
  library["uint"] = {{"uint64_to_uint64", "u>u"},
                     {"double_to_uint64", "d>u"},
                     {"int64_to_uint64", "i>u"},
                     {"string_to_uint64", "s>u"}};
}

void add_text_and_size(Library& library) {
  library["contains"] = {{"contains_string", "s.s>b"}};
  library["endsWith"] = {{"ends_with_string", "s.s>b"}};
  library["startsWith"] = {{"starts_with_string", "s.s>b"}};
  library["matches"] = {{"matches", "ss>b"}, {"matches_string", "s.s>b"}};
  library["size"] = {{"size_bytes", "y>i"}, {"bytes_size", "y.>i"}, {"size_list", "LA>i"},  {"list_size", "LA.>i"},
                     {"size_map", "MAB>i"}, {"map_size", "MAB.>i"}, {"size_string", "s>i"}, {"string_size", "s.>i"}};
}

void add_time(Library& library) {
  struct Part {
    std::string_view function, name;
    bool of_duration;
  };
  constexpr Part kParts[] = {{"getDate", "day_of_month_1_based", false},
                             {"getDayOfMonth", "day_of_month", false},
                             {"getDayOfWeek", "day_of_week", false},
                             {"getDayOfYear", "day_of_year", false},
                             {"getFullYear", "year", false},
                             {"getMonth", "month", false},
                             {"getHours", "hours", true},
                             {"getMinutes", "minutes", true},
                             {"getSeconds", "seconds", true},
                             {"getMilliseconds", "milliseconds", true}};
  for (const Part& part : kParts) {
    auto& overloads = library[std::string(part.function)];
    const std::string_view zoned = part.name == "seconds" ? "tz" : "with_tz";
    overloads.push_back({fmt::format("timestamp_to_{}", part.name), "t.>i"});
    overloads.push_back({fmt::format("timestamp_to_{}_{}", part.name, zoned), "t.s>i"});
    if (part.of_duration) overloads.push_back({fmt::format("duration_to_{}", part.name), "r.>i"});
  }
}

const Library& library() {
  static const Library kLibrary = [] {
    Library made;
    add_operators(made);
    add_arithmetic(made);
    add_comparisons(made);
    add_conversions(made);
    add_text_and_size(made);
    add_time(made);
    return made;
  }();
  return kLibrary;
}

class Reader {
 public:
  Reader(std::string_view text, Types& types) : text_(text), types_(types) {}

  Signature read() {
    Signature signature;
    for (; text_[at_] != '>';) {
      if (text_[at_] == '.') {
        signature.method = true;
        ++at_;
      } else {
        signature.arguments.push_back(type());
      }
    }
    ++at_;
    signature.result = type();
    return signature;
  }

 private:
  TypeRef type() {
    constexpr std::pair<char, Kind> kLetters[] = {{'b', Kind::kBool},      {'i', Kind::kInt},      {'u', Kind::kUint},
                                                  {'d', Kind::kDouble},    {'s', Kind::kString},   {'y', Kind::kBytes},
                                                  {'t', Kind::kTimestamp}, {'r', Kind::kDuration}, {'*', Kind::kDyn}};
    const char letter = text_[at_++];
    if (letter == 'L') return types_.list(type());
    if (letter == 'T') return types_.type_of(type());
    if (letter == 'M') {
      const TypeRef key = type();
      return types_.map(key, type());
    }
    if (letter == 'A') return variable(a_);
    if (letter == 'B') return variable(b_);
    for (const auto& [candidate, kind] : kLetters) {
      if (candidate == letter) return types_.simple(kind);
    }
    HG_CHECK(false && "a signature of the library is misspelt");
    return nullptr;
  }

  TypeRef variable(TypeRef& slot) {
    if (slot == nullptr) slot = types_.variable();
    return slot;
  }

  std::string_view text_;
  Types& types_;
  size_t at_ = 0;
  TypeRef a_ = nullptr;
  TypeRef b_ = nullptr;
};

}  // namespace

std::span<const Overload> overloads_of(std::string_view function) {
  const auto found = library().find(function);
  if (found == library().end()) return {};
  return found->second;
}

Signature instantiate(const Overload& overload, Types& types) { return Reader(overload.signature, types).read(); }

}  // namespace headgate::engine::cel
