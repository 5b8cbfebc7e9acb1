#include "engine/check/oracle_fixture.h"

#include <algorithm>

namespace headgate::engine {

namespace {

// One value a row; NULL rows end it. The session gives one field at a time, so rows come as JSON.
std::vector<std::vector<std::string>> read(testing::EngineSession& session, const std::string& columns,
                                           const std::string& table, const std::string& tenant, const SnapToken& at) {
  const std::string snapshot = "'" + format_pg_snapshot(at.snapshot) + "'::pg_snapshot";
  const std::string own = "'" + std::to_string(at.xid) + "'::xid8";
  const auto seen = [&](const std::string& xid) {
    return "(pg_visible_in_snapshot(" + xid + ", " + snapshot + ") OR " + xid + " = " + own + ")";
  };
  const std::string text =
      session.value("SELECT string_agg(concat_ws('|', " + columns + "), ';') FROM " + table + " WHERE tenant_id = '" +
                    tenant + "' AND " + seen("created_tx_id") + " AND NOT " + seen("expired_tx_id"));
  std::vector<std::vector<std::string>> rows;
  std::string row;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find(';', start), text.size());
    std::vector<std::string>& fields = rows.emplace_back();
    for (size_t field = start; field <= end;) {
      const size_t bar = std::min(text.find('|', field), end);
      fields.push_back(text.substr(field, bar - field));
      field = bar + 1;
    }
    start = end + 1;
  }
  return rows;
}

Truth opposite(Truth truth) { return truth == Truth::kError ? truth : truth == Truth::kYes ? Truth::kNo : Truth::kYes; }

}  // namespace

OracleRows oracle_rows(testing::EngineSession& session, const std::string& tenant, const SnapToken& at) {
  OracleRows rows;
  for (const auto& row : read(session, "entity_type, entity_id, relation, subject_type, subject_id, subject_relation",
                              "relation_tuples", tenant, at)) {
    rows.tuples[{row[0] + ":" + row[1], row[2]}].insert({row[3], row[4], row[5]});
    rows.known[row[0]].insert(row[1]);
    rows.known[row[3]].insert(row[4]);
    rows.subjects[row[3]].insert(row[4]);
  }
  for (const auto& row :
       read(session, "entity_type, entity_id, attribute, COALESCE(value->>'data', '')", "attributes", tenant, at)) {
    rows.values[{row[0] + ":" + row[1], row[2]}] = row[3];
    rows.known[row[0]].insert(row[1]);
  }
  return rows;
}

void add_context(OracleRows& rows, const base::v1::Context& context) {
  for (const base::v1::Tuple& tuple : context.tuples()) {
    const base::v1::Subject& subject = tuple.subject();
    rows.tuples[{tuple.entity().type() + ":" + tuple.entity().id(), tuple.relation()}].insert(
        {subject.type(), subject.id(), subject.relation()});
    rows.known[tuple.entity().type()].insert(tuple.entity().id());
    rows.known[subject.type()].insert(subject.id());
    rows.subjects[subject.type()].insert(subject.id());
  }
  for (const base::v1::Attribute& attribute : context.attributes()) {
    // Booleans only, and those of the context go before stored ones.
    base::v1::BooleanValue value;
    attribute.value().UnpackTo(&value);
    rows.values[{attribute.entity().type() + ":" + attribute.entity().id(), attribute.attribute()}] =
        value.data() ? "true" : "";
    rows.known[attribute.entity().type()].insert(attribute.entity().id());
  }
}

Oracle::Oracle(const base::v1::SchemaDefinition& schema, const OracleRows& rows, const std::vector<std::string>& ids,
               OracleRows::Subject subject)
    : schema_(schema), rows_(rows), subject_(std::move(subject)) {
  for (const auto& [type, entity] : schema.entity_definitions()) {
    for (const auto& [name, reference] : entity.references()) {
      for (const std::string& id : ids) places_.emplace_back(type + ":" + id, name);
    }
  }
  // What can be denied is denied first as far as it may be, then as little as it may be, in turns.
  Table most;
  for (const auto& place : places_) most[place] = Truth::kYes;
  Table least = fill(most);
  for (;;) {
    most = fill(least);
    Table next = fill(most);
    if (next == least) break;
    least = std::move(next);
  }
  for (const auto& place : places_) {
    result_[place] = least.at(place) == most.at(place) ? least.at(place) : Truth::kError;
  }
}

Oracle::Table Oracle::fill(const Table& denied_by) const {
  Table now;
  for (const auto& place : places_) now[place] = Truth::kNo;
  for (bool changed = true; changed;) {
    changed = false;
    for (const auto& place : places_) {
      const size_t colon = place.first.find(':');
      const Truth truth =
          value(place.first.substr(0, colon), place.first.substr(colon + 1), place.second, now, denied_by);
      if (truth != now[place]) changed = true;
      now[place] = truth;
    }
  }
  return now;
}

Truth Oracle::value(const std::string& type, const std::string& id, const std::string& name, const Table& now,
                    const Table& denied_by) const {
  if (subject_.type == type && subject_.id == id && subject_.relation == name) return Truth::kYes;
  const base::v1::EntityDefinition& entity = schema_.entity_definitions().at(type);
  if (entity.permissions().contains(name)) {
    return value(type, id, entity.permissions().at(name).child(), now, denied_by);
  }
  if (entity.attributes().contains(name)) return attribute(type, id, name);
  Truth best = Truth::kNo;
  const auto found = rows_.tuples.find({type + ":" + id, name});
  if (found == rows_.tuples.end()) return best;
  for (const OracleRows::Subject& one : found->second) {
    if (one == subject_) return Truth::kYes;
    if (!one.relation.empty()) best = std::max(best, now.at({one.type + ":" + one.id, one.relation}));
  }
  return best;
}

Truth Oracle::attribute(const std::string& type, const std::string& id, const std::string& name) const {
  const auto found = rows_.values.find({type + ":" + id, name});
  if (schema_.entity_definitions().at(type).attributes().at(name).type() != base::v1::ATTRIBUTE_TYPE_BOOLEAN) {
    return Truth::kError;
  }
  return found != rows_.values.end() && found->second == "true" ? Truth::kYes : Truth::kNo;
}

Truth Oracle::value(const std::string& type, const std::string& id, const base::v1::Child& child, const Table& now,
                    const Table& denied_by) const {
  if (child.has_leaf()) return leaf(type, id, child.leaf(), now);
  const base::v1::Child& left = child.rewrite().children(0);
  const base::v1::Child& right = child.rewrite().children(1);
  switch (child.rewrite().rewrite_operation()) {
    case base::v1::Rewrite::OPERATION_UNION:
      return std::max(value(type, id, left, now, denied_by), value(type, id, right, now, denied_by));
    case base::v1::Rewrite::OPERATION_INTERSECTION:
      return std::min(value(type, id, left, now, denied_by), value(type, id, right, now, denied_by));
    default: break;
  }
  // Inside of what is taken away, "now" and "denied by" change places.
  return std::min(value(type, id, left, now, denied_by), opposite(value(type, id, right, denied_by, now)));
}

Truth Oracle::leaf(const std::string& type, const std::string& id, const base::v1::Leaf& leaf, const Table& now) const {
  if (leaf.has_computed_user_set()) return now.at({type + ":" + id, leaf.computed_user_set().relation()});
  if (leaf.has_computed_attribute()) return attribute(type, id, leaf.computed_attribute().name());
  if (leaf.has_call()) {
    if (leaf.call().rule_name() == "any") return Truth::kYes;
    if (leaf.call().rule_name() == "broken") return Truth::kError;
    const auto level = rows_.values.find({type + ":" + id, "level"});
    const bool high = level != rows_.values.end() && !level->second.empty() && std::stoi(level->second) > 1;
    return high ? Truth::kYes : Truth::kNo;
  }
  Truth best = Truth::kNo;
  const auto found = rows_.tuples.find({type + ":" + id, leaf.tuple_to_user_set().tupleset().relation()});
  if (found == rows_.tuples.end()) return best;
  for (const OracleRows::Subject& one : found->second) {
    best = std::max(best, now.at({one.type + ":" + one.id, leaf.tuple_to_user_set().computed().relation()}));
  }
  return best;
}

}  // namespace headgate::engine
