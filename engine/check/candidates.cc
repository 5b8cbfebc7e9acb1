#include "engine/check/candidates.h"

#include "base/guard.h"

namespace headgate::engine {

namespace {

using base::v1::Subject;

Status check_wanted(const Scope& scope, size_t held) {
  HG_RETURN_IF_ERROR(scope.still_wanted());
  if (held <= scope.limits.nodes_max) return ok_status();
  return status_of(StatusCode::kResourceExhausted, "the answer rests on more than {} sub-problems",
                   scope.limits.nodes_max);
}

int64_t next(int64_t proof, bool decides) {
  return decides && proof != Candidate::kUnproven ? proof + 1 : Candidate::kUnproven;
}

}  // namespace

EntityCandidates::EntityCandidates(const Scope& scope, Facts& facts, const Scopes& scopes)
    : scope_(scope), facts_(facts) {
  for (const auto& [type, ids] : scopes) {
    if (ids.data_size() > 0) scopes_[type] = {ids.data().begin(), ids.data().end()};
  }
}

void EntityCandidates::found(const Reach::Name& name, const std::string& id, int64_t proof) {
  if (const auto scope = scopes_.find(name.first); scope != scopes_.end() && !scope->second.contains(id)) return;
  const auto [seen, fresh] = seen_.try_emplace(joined({name.first, name.second, id}), proof);
  if (!fresh && proof >= seen->second) return;
  seen->second = proof;
  if (name == target_) ids_[id] = proof;
  open_.push_back({name, id, proof});
}

void EntityCandidates::follow(const Reach& reach, const Found& one) {
  for (const auto& [permission, decides] : reach.permissions_of(one.name)) {
    found(permission, one.id, next(one.proof, decides));
  }
  const auto& [type, name] = one.name;
  for (const Reach::Arrow& arrow : reach.arrows_to(name)) {
    const int64_t proof = next(one.proof, arrow.decides);
    questions_.push_back({{type, one.id, "", arrow.of.first, arrow.relation, true}, arrow.of, proof});
  }
  for (const Reach::Name& relation : reach.relations_of(one.name)) {
    const int64_t proof = next(one.proof, true);
    questions_.push_back({{type, one.id, name, relation.first, relation.second, false}, relation, proof});
  }
}

// An attribute or a rule may hold for an entity of which there is no row.
Status EntityCandidates::find_by_values(const Reach& reach, const Subject& subject) {
  std::map<std::string, std::set<std::string>> ids_of{{subject.type(), {subject.id()}}};
  std::set<std::string> read;
  for (const auto& [type, name] : reach.values()) {
    std::set<std::string>& ids = ids_of[type];
    if (read.insert(type).second && guarded(Guard::kLookupValues)) {
      HG_RETURN_IF_ERROR(add_known(type, ids));
    }
    for (const std::string& id : ids) found({type, name}, id, Candidate::kUnproven);
    HG_RETURN_IF_ERROR(check_wanted(scope_, seen_.size()));
  }
  return ok_status();
}

Status EntityCandidates::add_known(const std::string& type, std::set<std::string>& ids) {
  for (const bool as_subject : {false, true}) {
    HG_ASSIGN_OR_RETURN(
        const std::vector<std::string> known,
        scope_.reader->known_ids(scope_.tenant, scope_.at, {type, as_subject, ""}, scope_.batch_limits()));
    ids.insert(known.begin(), known.end());
  }
  if (scope_.context == nullptr) return ok_status();
  for (const base::v1::Tuple& tuple : scope_.context->tuples()) {
    if (tuple.entity().type() == type) ids.insert(tuple.entity().id());
    if (tuple.subject().type() == type) ids.insert(tuple.subject().id());
  }
  for (const base::v1::Attribute& attribute : scope_.context->attributes()) {
    if (attribute.entity().type() == type) ids.insert(attribute.entity().id());
  }
  return ok_status();
}

StatusOr<std::vector<Candidate>> EntityCandidates::find(const Reach::Name& target, const Subject& subject) {
  target_ = target;
  const Reach reach(*scope_.schema, scope_.context, target);
  for (const Reach::Name& relation : reach.relations_of({subject.type(), subject.relation()})) {
    questions_.push_back(
        {{subject.type(), subject.id(), subject.relation(), relation.first, relation.second, false}, relation, 0});
  }
  if (reach.has({subject.type(), subject.relation()})) found({subject.type(), subject.relation()}, subject.id(), 0);
  HG_RETURN_IF_ERROR(find_by_values(reach, subject));
  while (!open_.empty() || !questions_.empty()) {
    while (!open_.empty()) {
      const Found one = open_.back();
      open_.pop_back();
      follow(reach, one);
    }
    HG_RETURN_IF_ERROR(check_wanted(scope_, seen_.size() + questions_.size()));
    for (const Question& question : questions_) facts_.entities(question.key);
    if (facts_.missed()) HG_RETURN_IF_ERROR(facts_.fetch());
    std::vector<Question> asked;
    asked.swap(questions_);
    for (const Question& question : asked) {
      for (const std::string& id : *facts_.entities(question.key)) found(question.name, id, question.proof);
    }
  }
  std::vector<Candidate> candidates;
  for (const auto& [id, proof] : ids_) candidates.push_back({id, proof});
  return candidates;
}

void SubjectCandidates::open(const base::v1::Entity& entity, const std::string& name, const std::string& computed) {
  if (seen_.insert(joined({entity.type(), entity.id(), name, computed})).second) {
    open_.push_back({entity, name, computed});
  }
}

// What needs rows is put into `rows`.
void SubjectCandidates::enter(const Place& place, std::vector<Place>& rows) {
  if (!place.computed.empty()) return rows.push_back(place);
  const auto entity = scope_.schema->entity_definitions().find(place.entity.type());
  if (entity == scope_.schema->entity_definitions().end()) return;
  const auto reference = entity->second.references().find(place.name);
  using Definition = base::v1::EntityDefinition;
  if (reference == entity->second.references().end() || reference->second == Definition::REFERENCE_ATTRIBUTE) {
    everybody_ = true;
    return;
  }
  if (reference->second == Definition::REFERENCE_RELATION) return rows.push_back(place);
  for (const auto& [leaf, decides] : Reach::leaves(entity->second.permissions().at(place.name).child())) {
    if (leaf->has_computed_user_set()) {
      open(place.entity, leaf->computed_user_set().relation());
    } else if (leaf->has_tuple_to_user_set()) {
      open(place.entity, leaf->tuple_to_user_set().tupleset().relation(),
           leaf->tuple_to_user_set().computed().relation());
    } else {
      everybody_ = true;
    }
  }
}

void SubjectCandidates::take(const Place& place, const Facts::Subjects& subjects,
                             const base::v1::RelationReference& kind) {
  for (const Subject& one : subjects) {
    base::v1::Entity entity;
    entity.set_type(one.type());
    entity.set_id(one.id());
    if (!place.computed.empty()) {
      open(entity, place.computed);
    } else if (one.type() == kind.type() && one.relation() == kind.relation()) {
      ids_.insert(one.id());
    } else if (!one.relation().empty()) {
      open(entity, one.relation());
    }
  }
}

std::vector<Candidate> SubjectCandidates::candidates() const {
  std::vector<Candidate> all;
  for (const std::string& id : ids_) all.push_back({id});
  return all;
}

StatusOr<std::vector<Candidate>> SubjectCandidates::find(const base::v1::Entity& entity, const std::string& name,
                                                         const base::v1::RelationReference& kind) {
  open(entity, name);
  while (!open_.empty()) {
    std::vector<Place> rows;
    while (!open_.empty()) {
      const Place place = open_.back();
      open_.pop_back();
      enter(place, rows);
    }
    HG_RETURN_IF_ERROR(check_wanted(scope_, seen_.size() + ids_.size()));
    const auto subjects_of = [&](const Place& place) {
      return facts_.subjects({place.entity.type(), place.entity.id(), place.name});
    };
    for (const Place& place : rows) subjects_of(place);
    if (facts_.missed()) HG_RETURN_IF_ERROR(facts_.fetch());
    for (const Place& place : rows) take(place, *subjects_of(place), kind);
  }
  if (!everybody_) return candidates();
  HG_ASSIGN_OR_RETURN(
      const std::vector<std::string> known,
      scope_.reader->known_ids(scope_.tenant, scope_.at, {kind.type(), true, kind.relation()}, scope_.batch_limits()));
  ids_.insert(known.begin(), known.end());
  if (scope_.context != nullptr) {
    for (const base::v1::Tuple& tuple : scope_.context->tuples()) {
      const Subject& one = tuple.subject();
      if (one.type() != kind.type()) continue;
      if (kind.relation().empty() || one.relation() == kind.relation()) ids_.insert(one.id());
    }
  }
  return candidates();
}

}  // namespace headgate::engine
