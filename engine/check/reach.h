// From where a permission can be had, as far as a schema tells: the relations, attributes and rules on which one that
// is allowed must rest. Of what is excluded nothing is needed, and of an intersection one side.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/v1/service.pb.h"

namespace headgate::engine {

class Reach {
 public:
  using Name = std::pair<std::string, std::string>;  // type and relation, permission or attribute
  struct Arrow {
    Name of;  // the permission
    std::string relation;
    std::string computed;
    bool decides = false;
  };
  // Whether a leaf alone decides for its permission: only "or" stands above it.
  struct Leaf {
    const base::v1::Leaf* leaf = nullptr;
    bool decides = true;
  };

  // Tuples of the context count as if the schema declared their kind.
  Reach(const base::v1::SchemaDefinition& schema, const base::v1::Context* context, const Name& target);

  // All that may come up on the way; the target, too.
  bool has(const Name& name) const { return seen_.contains(name); }
  // The relations that take a kind of subjects: a type and the relation of the subject, empty for none.
  const std::set<Name>& relations_of(const Name& subjects) const { return found_or_none(takers_, subjects); }
  // Attributes and rules: every entity of the type may have them.
  const std::set<Name>& values() const { return values_; }
  // The permissions, of the same entity, that may follow from a name, and whether they do.
  const std::map<Name, bool>& permissions_of(const Name& name) const { return found_or_none(computed_, name); }
  // Those that look for this name behind them.
  const std::vector<Arrow>& arrows_to(const std::string& computed) const { return found_or_none(arrows_, computed); }
  // The leaves on which this permission rests, as above.
  static std::vector<Leaf> leaves(const base::v1::Child& child);

 private:
  template <typename Map>
  static const typename Map::mapped_type& found_or_none(const Map& map, const typename Map::key_type& key) {
    static const typename Map::mapped_type kNone;
    const auto found = map.find(key);
    return found == map.end() ? kNone : found->second;
  }

  void visit(const Name& name);
  void visit_permission(const Name& name, const base::v1::PermissionDefinition& permission);
  void visit_relation(const Name& name, const base::v1::EntityDefinition& entity);

  const base::v1::SchemaDefinition& schema_;
  const base::v1::Context* context_;
  std::set<Name> seen_;
  std::vector<Name> open_;
  std::map<Name, std::set<Name>> takers_;
  std::map<Name, std::map<Name, bool>> computed_;
  std::map<std::string, std::vector<Arrow>> arrows_;
  std::set<Name> values_;
};

}  // namespace headgate::engine
