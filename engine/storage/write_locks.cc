#include "engine/storage/write_locks.h"

namespace headgate::engine {

namespace {

// Locks live in a table of the server whose size is fixed; 20 connections of several pods must fit.
constexpr size_t kKeysMax = 64;

// FNV-1a. Every process must compute the same, so no hash of the standard library.
class Hash {
 public:
  void add(const std::string& part) {
    for (const char c : part) mix(static_cast<unsigned char>(c));
    mix(0);
  }
  int64_t value() const { return static_cast<int64_t>(state_); }

 private:
  void mix(unsigned char byte) { state_ = (state_ ^ byte) * 0x100000001b3; }

  uint64_t state_ = 0xcbf29ce484222325;
};

}  // namespace

int64_t tenant_lock(const std::string& tenant) {
  Hash hash;
  hash.add("headgate tenant");
  hash.add(tenant);
  return hash.value();
}

std::string lock_tenant_sql(const std::string& tenant) {
  return fmt::format("SELECT pg_advisory_xact_lock_shared(" HG_WRITER_LOCK "), pg_advisory_xact_lock({})",
                     tenant_lock(tenant));
}

std::string share_tenant_sql(const std::string& tenant) {
  return fmt::format("SELECT pg_advisory_xact_lock_shared(" HG_WRITER_LOCK "), pg_advisory_xact_lock_shared({})",
                     tenant_lock(tenant));
}

WriteLocks::WriteLocks(const std::string& tenant) : tenant_(tenant) {}

void WriteLocks::add(char kind, std::initializer_list<const std::string*> parts) {
  if (exclusive()) return;
  Hash hash;
  hash.add("headgate key");
  hash.add(tenant_);
  hash.add(std::string(1, kind));
  for (const std::string* part : parts) hash.add(*part);
  keys_.insert(hash.value());
}

// The subject's relation is left out, because a filter without one deletes all of them.
void WriteLocks::add(const std::vector<base::v1::Tuple>& tuples) {
  for (const base::v1::Tuple& tuple : tuples) {
    add('t', {&tuple.entity().type(), &tuple.entity().id(), &tuple.relation(), &tuple.subject().type(),
              &tuple.subject().id()});
  }
}

void WriteLocks::add(const std::vector<base::v1::Attribute>& attributes) {
  for (const base::v1::Attribute& attribute : attributes) {
    add('a', {&attribute.entity().type(), &attribute.entity().id(), &attribute.attribute()});
  }
}

void WriteLocks::add(const base::v1::TupleFilter& filter) {
  const auto& entity = filter.entity();
  const auto& subject = filter.subject();
  const bool empty = entity.type().empty() && entity.ids().empty() && filter.relation().empty() &&
                     subject.type().empty() && subject.ids().empty() && subject.relation().empty();
  if (empty) return;
  if (entity.type().empty() || entity.ids().empty() || filter.relation().empty() || subject.type().empty() ||
      subject.ids().empty()) {
    unbounded_ = true;
    return;
  }
  for (const std::string& id : entity.ids()) {
    for (const std::string& subject_id : subject.ids()) {
      add('t', {&entity.type(), &id, &filter.relation(), &subject.type(), &subject_id});
    }
  }
}

void WriteLocks::add(const base::v1::AttributeFilter& filter) {
  const auto& entity = filter.entity();
  if (entity.type().empty() && entity.ids().empty() && filter.attributes().empty()) return;
  if (entity.type().empty() || entity.ids().empty() || filter.attributes().empty()) {
    unbounded_ = true;
    return;
  }
  for (const std::string& id : entity.ids()) {
    for (const std::string& name : filter.attributes()) add('a', {&entity.type(), &id, &name});
  }
}

bool WriteLocks::exclusive() const { return unbounded_ || keys_.size() > kKeysMax; }

Statement WriteLocks::statement() const {
  const std::string tenant = std::to_string(tenant_lock(tenant_));
  if (exclusive()) return {"headgate_lock_tenant", {tenant}, {}};
  if (keys_.empty()) return {};
  if (keys_.size() == 1) return {"headgate_lock_key", {tenant, std::to_string(*keys_.begin())}, {}};
  return {"headgate_lock_keys", {tenant, fmt::format("{{{}}}", fmt::join(keys_, ","))}, {}};
}

}  // namespace headgate::engine
