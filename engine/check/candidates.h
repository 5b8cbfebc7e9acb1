// Who may have a permission: more than have it, never fewer. Each is to be checked, unless the walk proves it: when it
// went over tuples, sets, arrows and "or" alone.
#pragma once

#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "engine/check/facts.h"
#include "engine/check/reach.h"

namespace headgate::engine {

using Scopes = google::protobuf::Map<std::string, base::v1::StringArrayValue>;

struct Candidate {
  static constexpr int64_t kUnproven = INT64_MAX;

  std::string id;
  int64_t proof = kUnproven;  // how many sub-problems deep it is, as a check counts them
};

// From a subject back to the entities of a type, one round trip for each step away from the subject.
class EntityCandidates {
 public:
  // `scopes`: ids to which a type is restricted, on the way, too; an empty list restricts nothing.
  EntityCandidates(const Scope& scope, Facts& facts, const Scopes& scopes);
  // Sorted by bytes.
  StatusOr<std::vector<Candidate>> find(const Reach::Name& target, const base::v1::Subject& subject);

 private:
  struct Found {
    Reach::Name name;
    std::string id;
    int64_t proof;
  };
  // Entities that follow from a found one, or from the subject, through one relation.
  struct Question {
    BackwardKey key;
    Reach::Name name;  // what they have then
    int64_t proof;
  };

  void found(const Reach::Name& name, const std::string& id, int64_t proof);
  void follow(const Reach& reach, const Found& one);
  Status find_by_values(const Reach& reach, const base::v1::Subject& subject);
  // Every id of a type that the state or the context knows.
  Status add_known(const std::string& type, std::set<std::string>& ids);

  const Scope& scope_;
  Facts& facts_;
  std::map<std::string, std::set<std::string>> scopes_;
  std::unordered_map<std::string, int64_t> seen_;  // with the shortest proof
  std::vector<Found> open_;
  std::vector<Question> questions_;
  std::map<std::string, int64_t> ids_;
  Reach::Name target_;
};

// From an entity on to the subjects of a kind.
class SubjectCandidates {
 public:
  SubjectCandidates(const Scope& scope, Facts& facts) : scope_(scope), facts_(facts) {}
  // Sorted by bytes.
  StatusOr<std::vector<Candidate>> find(const base::v1::Entity& entity, const std::string& name,
                                        const base::v1::RelationReference& kind);

 private:
  struct Place {
    base::v1::Entity entity;
    std::string name;
    std::string computed;  // not empty: an arrow along `name`
  };

  void open(const base::v1::Entity& entity, const std::string& name, const std::string& computed = "");
  void enter(const Place& place, std::vector<Place>& rows);
  void take(const Place& place, const Facts::Subjects& subjects, const base::v1::RelationReference& kind);

  std::vector<Candidate> candidates() const;

  const Scope& scope_;
  Facts& facts_;
  std::unordered_set<std::string> seen_;
  std::vector<Place> open_;
  std::set<std::string> ids_;
  bool everybody_ = false;
};

}  // namespace headgate::engine
