#include "tests/robustness/recorder.h"
#include "tests/support/engine_stubs.h"

namespace headgate::testing {

void Recorder::write(int changes) {
  const std::string prefix = "w" + std::to_string(rows_.size()) + "_";
  TruthRow row{tenant_, sql_.begin(tenant_), {}, {}};
  if (!rows_.empty()) {
    const std::string old = "w" + std::to_string(rows_.size() - 1) + "_1";
    sql_.remove(old);
    row.deletes.push_back("doc:" + old + "#owner@user:u");
  }
  sql_.add_many(changes, prefix);
  for (int i = 1; i <= changes; ++i) row.creates.push_back("doc:" + prefix + std::to_string(i) + "#owner@user:u");
  sql_.commit();
  rows_.push_back(std::move(row));
}

int Recorder::left() {
  return std::stoi(sql_.value("SELECT count(*) FROM transactions WHERE tenant_id = '" + tenant_ + "'"));
}

std::string Recorder::check(const std::vector<base::v1::DataChanges>& messages, uint64_t after) const {
  const auto history = seen(tenant_, messages);
  const std::string fault = check_complete(rows_, history, tenant_, after);
  return fault.empty() ? check_atomic(rows_, history) : fault;
}

bool carried(const WatchReader& reader, uint64_t xid) {
  const auto messages = reader.messages();
  return !messages.empty() && seen(reader.tenant(), messages.back()).xid >= xid;
}

SlowReader::SlowReader(EngineClient& client, const std::string& tenant, const std::string& token,
                       std::chrono::milliseconds pause)
    : thread_([this, &client, tenant, token, pause] {
        base::v1::WatchRequest request;
        request.set_tenant_id(tenant);
        request.set_snap_token(token);
        run(client, request, pause);
      }) {}

SlowReader::~SlowReader() {
  hurry_ = true;
  context_.TryCancel();
  thread_.join();
}

void SlowReader::run(EngineClient& client, const base::v1::WatchRequest& request, std::chrono::milliseconds pause) {
  const auto stream = client.stubs().watch->Watch(&context_, request);
  stream->WaitForInitialMetadata();
  open_ = true;
  wait_until([&] { return hurry_.load(); }, pause);
  base::v1::WatchResponse response;
  while (stream->Read(&response)) {
    {
      std::lock_guard lock(mutex_);
      messages_.push_back(std::move(*response.mutable_changes()));
    }
    wait_until([&] { return hurry_.load(); }, pause);
  }
  const grpc::Status status = stream->Finish();
  std::lock_guard lock(mutex_);
  status_ = status;
  ended_ = true;
}

std::vector<base::v1::DataChanges> SlowReader::messages() const {
  std::lock_guard lock(mutex_);
  return messages_;
}

grpc::Status SlowReader::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

void collect_by_hand(EngineSession& sql, const std::string& tenant, uint64_t floor) {
  const std::string xid = "'" + std::to_string(floor) + "'::xid8";
  sql.run("INSERT INTO headgate.gc_floors (tenant_id, floor) VALUES ('" + tenant + "', " + xid + ")");
  sql.run("DELETE FROM relation_tuples WHERE tenant_id = '" + tenant + "' AND expired_tx_id < " + xid);
  sql.run("DELETE FROM transactions WHERE tenant_id = '" + tenant + "' AND id < " + xid);
}

}  // namespace headgate::testing
