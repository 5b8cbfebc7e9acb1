#include "engine/check/facts.h"

#include <algorithm>
#include <tuple>

#include "base/guard.h"

namespace headgate::engine {

namespace {

using base::v1::Subject;

std::string key_of(const RelationKey& key) { return joined({key.entity_type, key.entity_id, key.relation}); }

std::string key_of(const AttributeKey& key) { return joined({key.entity_type, key.entity_id, key.attribute}); }

std::string key_of(const TupleKey& key) {
  return joined(
      {key.of.entity_type, key.of.entity_id, key.of.relation, key.subject_type, key.subject_id, key.subject_relation});
}

std::string key_of(const BackwardKey& key) {
  return joined({key.subject_type, key.subject_id, key.any_subject_relation ? "*" : key.subject_relation,
                 key.entity_type, key.relation});
}

auto order_of(const Subject& subject) { return std::tie(subject.type(), subject.id(), subject.relation()); }

void sort_once(std::vector<Subject>& subjects) {
  const auto less = [](const Subject& a, const Subject& b) { return order_of(a) < order_of(b); };
  const auto same = [](const Subject& a, const Subject& b) { return order_of(a) == order_of(b); };
  std::sort(subjects.begin(), subjects.end(), less);
  subjects.erase(std::unique(subjects.begin(), subjects.end(), same), subjects.end());
}

}  // namespace

std::string joined(std::initializer_list<std::string_view> parts) {
  std::string text;
  for (const std::string_view part : parts) {
    text += part;
    text += '\0';
  }
  return text;
}

Facts::Facts(const Scope& scope) : scope_(scope) {
  if (scope.context == nullptr) return;
  for (const base::v1::Tuple& tuple : scope.context->tuples()) {
    contextual_.push_back(&tuple);
    contextual_by_relation_[joined({tuple.entity().type(), tuple.entity().id(), tuple.relation()})].push_back(
        &tuple.subject());
  }
  for (const base::v1::Attribute& one : scope.context->attributes()) {
    // The first of several counts.
    contextual_values_.emplace(joined({one.entity().type(), one.entity().id(), one.attribute()}), &one.value());
  }
}

std::optional<bool> Facts::tuple(const TupleKey& key) {
  const auto [known, fresh] = tuples_.try_emplace(key_of(key));
  if (!fresh) return known->second;
  if (const auto found = contextual_by_relation_.find(key_of(key.of)); found != contextual_by_relation_.end()) {
    for (const Subject* subject : found->second) {
      if (order_of(*subject) == std::tie(key.subject_type, key.subject_id, key.subject_relation)) {
        return known->second = true;
      }
    }
  }
  query_.tuples.push_back(key);
  return std::nullopt;
}

const Facts::Subjects* Facts::usersets(const RelationKey& key) {
  const auto [known, fresh] = usersets_.try_emplace(key_of(key));
  if (fresh) query_.usersets.push_back(key);
  return known->second ? &*known->second : nullptr;
}

const Facts::Subjects* Facts::subjects(const RelationKey& key) {
  const auto [known, fresh] = subjects_.try_emplace(key_of(key));
  if (fresh) query_.subjects.push_back(key);
  return known->second ? &*known->second : nullptr;
}

const Facts::Value* Facts::attribute(const AttributeKey& key) {
  const auto [known, fresh] = attributes_.try_emplace(key_of(key));
  if (fresh) query_.attributes.push_back(key);
  return known->second ? &*known->second : nullptr;
}

const std::vector<std::string>* Facts::entities(const BackwardKey& key) {
  const auto [known, fresh] = entities_.try_emplace(key_of(key));
  if (fresh) query_.entities.push_back(key);
  return known->second ? &*known->second : nullptr;
}

void Facts::merge(Subjects& stored, const RelationKey& key, bool usersets_only) const {
  if (const auto found = contextual_by_relation_.find(key_of(key));
      found != contextual_by_relation_.end() && guarded(Guard::kCheckContext)) {
    for (const Subject* subject : found->second) {
      if (!usersets_only || !subject->relation().empty()) stored.push_back(*subject);
    }
  }
  sort_once(stored);
}

void Facts::take_subjects(const std::vector<RelationKey>& keys, std::vector<Subjects>& found, Known<Subjects>& into,
                          bool usersets_only) {
  for (size_t i = 0; i < keys.size(); ++i) {
    merge(found[i], keys[i], usersets_only);
    into[key_of(keys[i])] = std::move(found[i]);
  }
}

void Facts::take_entities(std::vector<std::vector<std::string>>& found) {
  for (size_t i = 0; i < query_.entities.size(); ++i) {
    const BackwardKey& key = query_.entities[i];
    std::vector<std::string>& ids = found[i];
    for (const base::v1::Tuple* tuple : contextual_) {
      const Subject& subject = tuple->subject();
      if (tuple->entity().type() == key.entity_type && tuple->relation() == key.relation &&
          subject.type() == key.subject_type && subject.id() == key.subject_id &&
          (key.any_subject_relation || subject.relation() == key.subject_relation)) {
        ids.push_back(tuple->entity().id());
      }
    }
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    entities_[key_of(key)] = std::move(ids);
  }
}

Status Facts::fetch() {
  ++round_trips_;
  HG_ASSIGN_OR_RETURN(BatchAnswer answer, scope_.reader->read(scope_.tenant, scope_.at, query_, scope_.batch_limits()));
  for (size_t i = 0; i < query_.tuples.size(); ++i) tuples_[key_of(query_.tuples[i])] = answer.tuples[i];
  take_subjects(query_.usersets, answer.usersets, usersets_, true);
  take_subjects(query_.subjects, answer.subjects, subjects_, false);
  for (size_t i = 0; i < query_.attributes.size(); ++i) {
    const std::string key = key_of(query_.attributes[i]);
    const auto contextual = contextual_values_.find(key);
    attributes_[key] =
        Value{contextual == contextual_values_.end() ? nullptr : contextual->second, std::move(answer.attributes[i])};
  }
  take_entities(answer.entities);
  query_ = {};
  return ok_status();
}

}  // namespace headgate::engine
