// The few engine calls that the demo needs, over gRPC.
//
// Blocking, each call with a deadline of ten seconds. One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/v1/base.pb.h"
#include "ops/demo/ledger.h"

namespace headgate::demo {

// One step of the story: a write or a deletion.
struct Step {
  std::string tenant;
  std::string title;  // for people
  std::vector<base::v1::Tuple> create;
  std::vector<base::v1::Attribute> set;
  std::vector<base::v1::Tuple> remove;  // all of one entity and relation; not together with the others
};

class EngineClient {
 public:
  explicit EngineClient(const std::string& address);
  ~EngineClient();
  EngineClient(const EngineClient&) = delete;
  EngineClient& operator=(const EngineClient&) = delete;

  // Blocks until the server answers, at most `seconds`.
  Status wait_until_ready(int seconds);
  // A tenant that is there already is fine.
  Status create_tenant(const std::string& id, const std::string& name);
  Status write_schema(const std::string& tenant, const std::string& schema);
  StatusOr<Transaction> run(const Step& step);

 private:
  struct Stubs;
  std::unique_ptr<Stubs> stubs_;
};

}  // namespace headgate::demo
