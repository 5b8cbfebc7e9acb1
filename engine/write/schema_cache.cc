#include "engine/write/schema_cache.h"

#include "engine/schema/schema.h"

namespace headgate::engine {

namespace {

// Versions have no slash, so the two parts cannot be confused.
std::string key_of(const std::string& tenant, const std::string& version) { return version + "/" + tenant; }

}  // namespace

SchemaCache::SchemaCache(SchemaStore& store, size_t entries_max, size_t bytes_max)
    : store_(store), entries_max_(entries_max), bytes_max_(bytes_max) {}

StatusOr<std::shared_ptr<const base::v1::SchemaDefinition>> SchemaCache::get(const std::string& tenant,
                                                                             const std::string& version) {
  const std::string key = key_of(tenant, version);
  if (Definition found = find(key); found != nullptr) return found;
  HG_ASSIGN_OR_RETURN(const std::vector<SchemaRow> rows, store_.read(tenant, version));
  HG_ASSIGN_OR_RETURN(base::v1::SchemaDefinition read, read_schema(rows));
  auto definition = std::make_shared<const base::v1::SchemaDefinition>(std::move(read));
  if (!rows.empty()) insert(key, definition);
  return definition;
}

SchemaCache::Definition SchemaCache::get_cached(const std::string& tenant, const std::string& version) {
  return find(key_of(tenant, version));
}

size_t SchemaCache::size() const {
  MutexLock lock(mutex_);
  return entries_.size();
}

size_t SchemaCache::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

SchemaCache::Definition SchemaCache::find(const std::string& key) {
  MutexLock lock(mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return found->second->definition;
}

void SchemaCache::insert(const std::string& key, Definition definition) {
  // A text of a megabyte becomes a definition of many.
  const size_t bytes = key.size() + definition->SpaceUsedLong();
  MutexLock lock(mutex_);
  if (index_.contains(key)) return;
  entries_.push_front({key, std::move(definition), bytes});
  index_[key] = entries_.begin();
  bytes_ += bytes;
  while (entries_.size() > 1 && (entries_.size() > entries_max_ || bytes_ > bytes_max_)) {
    bytes_ -= entries_.back().bytes;
    index_.erase(entries_.back().key);
    entries_.pop_back();
  }
}

std::string SchemaCache::newest_seen(const std::string& tenant) const {
  MutexLock lock(mutex_);
  const auto found = newest_.find(tenant);
  return found == newest_.end() ? "" : found->second;
}

void SchemaCache::saw_newest(const std::string& tenant, const std::string& version) {
  MutexLock lock(mutex_);
  // Guesses are cheap to find again, so keeping track of their age is not worth it.
  if (newest_.size() >= entries_max_) newest_.clear();
  newest_[tenant] = version;
}

}  // namespace headgate::engine
