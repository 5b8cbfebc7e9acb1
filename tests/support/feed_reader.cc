#include "tests/support/feed_reader.h"

#include <algorithm>

#include "base/snap_token.h"
#include "tests/support/engine_stubs.h"

namespace headgate::testing {

using headgate::v1::FeedMessage;
using headgate::v1::Transaction;

namespace {

std::string kind_of(const Transaction& transaction) {
  const std::string late = transaction.late() ? "late-" : "";
  switch (transaction.kind()) {
    case Transaction::KIND_CHANGES: return "write";
    case Transaction::KIND_TENANT_CREATED: return late + "created";
    case Transaction::KIND_TENANT_REMOVED: return late + "removed";
    case Transaction::KIND_SCHEMA_CHANGED: return late + "schema";
    default: return "unknown";
  }
}

}  // namespace

FeedReader::FeedReader(EngineClient& client, headgate::v1::SubscribeRequest request)
    : client_(client), request_(std::move(request)) {
  if (request_.heartbeat_interval_ms() == 0) request_.set_heartbeat_interval_ms(100);
  thread_ = std::jthread([this] { run(); });
}

FeedReader::~FeedReader() { context_.TryCancel(); }

void FeedReader::run() {
  const auto stream = client_.stubs().feed->Subscribe(&context_, request_);
  FeedMessage message;
  while (stream->Read(&message)) {
    {
      const std::lock_guard lock(mutex_);
      take(message);
    }
    changed_.notify_all();
  }
  const grpc::Status status = stream->Finish();
  {
    const std::lock_guard lock(mutex_);
    status_ = status;
    ended_ = true;
  }
  changed_.notify_all();
}

void FeedReader::take(const FeedMessage& message) {
  if (message.has_opened()) {
    open_ = true;
    token_ = message.opened().snap_token();
  } else if (message.has_batch()) {
    for (const Transaction& transaction : message.batch().transactions()) transactions_.push_back(transaction);
    const Transaction& last = transactions_.back();
    if (last.more_parts()) return;
    position_ = last.xid() + 1;
    token_ = encode_position_token(position_);
  } else if (message.has_heartbeat()) {
    position_ = message.heartbeat().position();
    token_ = message.heartbeat().snap_token();
  } else if (message.has_tenant()) {
    notices_.push_back(message.tenant());
  }
}

bool FeedReader::wait(std::chrono::milliseconds timeout, const std::function<bool()>& done) const {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, done);
}

bool FeedReader::wait_open(std::chrono::milliseconds timeout) const {
  return wait(timeout, [&] { return open_; });
}

bool FeedReader::wait_for(const std::string& tenant, size_t count, std::chrono::milliseconds timeout) const {
  return wait(timeout, [&] {
    return static_cast<size_t>(std::ranges::count_if(transactions_, [&](const Transaction& transaction) {
             return transaction.tenant_id() == tenant && !transaction.more_parts();
           })) >= count;
  });
}

bool FeedReader::wait_position(uint64_t position, std::chrono::milliseconds timeout) const {
  return wait(timeout, [&] { return position_ >= position; });
}

bool FeedReader::wait_end(std::chrono::milliseconds timeout) const {
  return wait(timeout, [&] { return ended_; });
}

std::vector<Transaction> FeedReader::of(const std::string& tenant) const {
  const std::lock_guard lock(mutex_);
  std::vector<Transaction> found;
  for (const Transaction& transaction : transactions_) {
    if (transaction.tenant_id() == tenant) found.push_back(transaction);
  }
  return found;
}

std::string FeedReader::text(const std::string& tenant) const {
  std::string out;
  for (const Transaction& transaction : of(tenant)) out += (out.empty() ? "" : " ") + kind_of(transaction);
  return out;
}

std::vector<headgate::v1::TenantEvent> FeedReader::notices() const {
  const std::lock_guard lock(mutex_);
  return notices_;
}

std::string FeedReader::position_token() const {
  const std::lock_guard lock(mutex_);
  return token_;
}

grpc::Status FeedReader::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

}  // namespace headgate::testing
