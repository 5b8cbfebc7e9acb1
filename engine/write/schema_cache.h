// Definitions of schema versions, read once. A version never changes, so an entry is never wrong; only their number and
// their memory are bounded. Thread-safe; get() may block on the database.
#pragma once

#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/mutex.h"
#include "base/status.h"
#include "base/v1/base.pb.h"
#include "engine/storage/datastore.h"

namespace headgate::engine {

class SchemaCache {
 public:
  // One entry is kept whatever its size.
  explicit SchemaCache(SchemaStore& store, size_t entries_max = 1000, size_t bytes_max = 64 << 20);

  // An unknown version gives an empty definition, which is not kept: another pod may be writing it now.
  StatusOr<std::shared_ptr<const base::v1::SchemaDefinition>> get(const std::string& tenant,
                                                                  const std::string& version);
  // The same without the database: null when it is not here.
  std::shared_ptr<const base::v1::SchemaDefinition> get_cached(const std::string& tenant, const std::string& version);
  size_t size() const;
  size_t bytes() const;

  // The newest version of a tenant as far as this process has seen, empty when it has seen none. It may be out of date
  // at any time: whoever uses it has to find out.
  std::string newest_seen(const std::string& tenant) const;
  void saw_newest(const std::string& tenant, const std::string& version);

 private:
  using Definition = std::shared_ptr<const base::v1::SchemaDefinition>;
  struct Entry {
    std::string key;
    Definition definition;
    size_t bytes;
  };

  Definition find(const std::string& key);
  void insert(const std::string& key, Definition definition);

  SchemaStore& store_;
  const size_t entries_max_;
  const size_t bytes_max_;
  mutable Mutex mutex_;
  std::list<Entry> entries_ GUARDED_BY(mutex_);  // most recently used first
  size_t bytes_ GUARDED_BY(mutex_) = 0;
  std::unordered_map<std::string, std::list<Entry>::iterator> index_ GUARDED_BY(mutex_);
  std::unordered_map<std::string, std::string> newest_ GUARDED_BY(mutex_);  // tenant -> version
};

}  // namespace headgate::engine
