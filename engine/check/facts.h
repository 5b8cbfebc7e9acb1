// What a request knows of its state: the rows it has asked for, each once, and the tuples and attributes of its
// context.
//
// A look-up of something that is not known yet gives nothing, and fetch() then asks for all that was missed, in one
// round trip. Not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "engine/check/scope.h"

namespace headgate::engine {

// Unambiguous: no part has a zero byte.
std::string joined(std::initializer_list<std::string_view> parts);

class Facts {
 public:
  using Subjects = std::vector<base::v1::Subject>;
  struct Value {
    const google::protobuf::Any* contextual = nullptr;
    std::optional<google::protobuf::Any> stored;
  };

  explicit Facts(const Scope& scope);

  // Null, or nothing, as long as it is not known. Subjects come sorted, each once.
  std::optional<bool> tuple(const TupleKey& key);
  const Subjects* usersets(const RelationKey& key);
  const Subjects* subjects(const RelationKey& key);
  const Value* attribute(const AttributeKey& key);
  // Each once, sorted by bytes.
  const std::vector<std::string>* entities(const BackwardKey& key);

  bool missed() const { return !query_.empty(); }
  // How often the database was asked.
  int round_trips() const { return round_trips_; }
  Status fetch();

  const std::vector<const base::v1::Tuple*>& contextual_tuples() const { return contextual_; }

 private:
  template <typename T>
  using Known = std::unordered_map<std::string, std::optional<T>>;

  void merge(Subjects& stored, const RelationKey& key, bool usersets_only) const;
  void take_subjects(const std::vector<RelationKey>& keys, std::vector<Subjects>& found, Known<Subjects>& into,
                     bool usersets_only);
  void take_entities(std::vector<std::vector<std::string>>& found);

  const Scope& scope_;
  std::vector<const base::v1::Tuple*> contextual_;
  std::unordered_map<std::string, std::vector<const base::v1::Subject*>> contextual_by_relation_;
  std::unordered_map<std::string, const google::protobuf::Any*> contextual_values_;

  Known<bool> tuples_;
  Known<Subjects> usersets_;
  Known<Subjects> subjects_;
  Known<Value> attributes_;
  Known<std::vector<std::string>> entities_;
  BatchQuery query_;
  int round_trips_ = 0;
};

}  // namespace headgate::engine
