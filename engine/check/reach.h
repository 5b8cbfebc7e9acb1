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
  bool has_relation(const Name& name) const { return relations_.contains(name); }
  // Subjects that a relation takes: a type and the relation of the subject, empty for none.
  const std::map<Name, std::set<Name>>& relations() const { return relations_; }
  // Attributes and rules: every entity of the type may have them.
  const std::set<Name>& values() const { return values_; }
  // The permissions, of the same entity, that may follow from a name, and whether they do.
  const std::map<Name, std::map<Name, bool>>& computed() const { return computed_; }
  const std::vector<Arrow>& arrows() const { return arrows_; }
  // The leaves on which this permission rests, as above.
  static std::vector<Leaf> leaves(const base::v1::Child& child);

 private:
  void visit(const Name& name);
  void visit_permission(const Name& name, const base::v1::PermissionDefinition& permission);
  void visit_relation(const Name& name, const base::v1::EntityDefinition& entity);

  const base::v1::SchemaDefinition& schema_;
  const base::v1::Context* context_;
  std::set<Name> seen_;
  std::vector<Name> open_;
  std::map<Name, std::set<Name>> relations_;
  std::map<Name, std::map<Name, bool>> computed_;
  std::vector<Arrow> arrows_;
  std::set<Name> values_;
};

}  // namespace headgate::engine
