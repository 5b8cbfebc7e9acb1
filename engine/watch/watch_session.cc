#include "engine/watch/watch_session.h"

#include <google/protobuf/io/coded_stream.h>

#include <array>

#include "base/v1/service.pb.h"
#include "headgate/v1/feed.pb.h"

namespace headgate::engine {

namespace {

using google::protobuf::io::CodedOutputStream;

grpc::ByteBuffer buffer_of(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// The bytes of the item as they are; the slice keeps the item alive.
grpc::Slice shared_slice(const FeedItemPtr& item) {
  auto holder = std::make_unique<FeedItemPtr>(item);
  const auto release = [](void* pointer) { std::unique_ptr<FeedItemPtr>(static_cast<FeedItemPtr*>(pointer)).reset(); };
  return grpc::Slice(const_cast<char*>(item->changes.data()), item->changes.size(), release, holder.release());
}

// WatchResponse{changes} without copying the changes.
grpc::ByteBuffer response_of(const FeedItemPtr& item) {
  std::array<uint8_t, 16> header;
  uint8_t* end =
      CodedOutputStream::WriteTagToArray(base::v1::WatchResponse::kChangesFieldNumber << 3 | 2, header.data());
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(item->changes.size()), end);
  const std::array<grpc::Slice, 2> slices = {grpc::Slice(header.data(), static_cast<size_t>(end - header.data())),
                                             shared_slice(item)};
  return grpc::ByteBuffer(slices.data(), slices.size());
}

void put_unreadable(const std::string& rows, v1::Transaction& transaction) {
  transaction.set_kind(v1::Transaction::KIND_UNREADABLE);
  transaction.set_reason(std::string(kRowUnreadable));
  transaction.set_message(rows);
}

void put_life(const LifeEvent& event, v1::Transaction& transaction) {
  switch (event.kind) {
    case LifeEvent::Kind::kCreated: transaction.set_kind(v1::Transaction::KIND_TENANT_CREATED); break;
    case LifeEvent::Kind::kRemoved: transaction.set_kind(v1::Transaction::KIND_TENANT_REMOVED); break;
    case LifeEvent::Kind::kSchemaChanged: transaction.set_kind(v1::Transaction::KIND_SCHEMA_CHANGED); break;
  }
  transaction.set_schema_version(event.schema_version);
  transaction.set_previous_schema_version(event.previous_schema_version);
  transaction.set_late(event.late);
}

// Without the name of its tenant it would be taken for another one.
bool can_be_told(const TransactionIdentity& identity) { return identity.xid != 0 && is_tenant_name(identity.tenant); }

void put_identity(const TransactionIdentity& identity, v1::TransactionIdentity& out) {
  out.set_xid(identity.xid);
  out.set_started_at_us(identity.started_at_us);
  out.set_tenant_id(identity.tenant);
}

void put_limits(const FeedLimits& limits, v1::Limits& out) {
  out.set_attribute_json_bytes_max(limits.attribute_json_bytes_max);
  out.set_part_bytes_max(limits.part_bytes_max);
  out.set_part_json_bytes_max(limits.part_json_bytes_max);
}

v1::TenantEvent::State state_of(const StreamNotice& notice) {
  if (notice.removed) return v1::TenantEvent::STATE_REMOVED;
  return notice.starts_later ? v1::TenantEvent::STATE_STARTS_LATER : v1::TenantEvent::STATE_FAILED;
}

}  // namespace

void WatchSession::encode(const Pull& pull, Messages* out) {
  if (!pull.items.empty() && !pull.items.back()->more_parts) reached_ = pull.items.back()->xid + 1;
  for (const FeedItemPtr& item : pull.items) out->push_back(response_of(item));
}

void WatchSession::encode_heartbeat(uint64_t position, const TransactionIdentity&, Messages* out) {
  base::v1::WatchResponse response;
  // Of one tenant, so what was told in front of the horizon counts.
  response.mutable_changes()->set_snap_token(encode_position_token(std::max(position, reached_)));
  out->push_back(buffer_of(response));
}

void FeedSession::encode(const Pull& pull, Messages* out) {
  head_ = std::max(head_, pull.position);
  if (pull.opening) {
    head_ = std::max(head_, pull.opening->position);
    v1::FeedMessage message;
    message.mutable_opened()->set_incarnation(pull.opening->incarnation);
    message.mutable_opened()->set_position(pull.opening->position);
    message.mutable_opened()->set_snap_token(encode_position_token(pull.opening->position));
    const TransactionIdentity& newest = pull.opening->newest;
    if (can_be_told(newest)) put_identity(newest, *message.mutable_opened()->mutable_newest());
    put_limits(limits_, *message.mutable_opened()->mutable_limits());
    out->push_back(buffer_of(message));
  }
  for (const StreamNotice& notice : pull.notices) {
    if (!is_tenant_name(notice.tenant)) continue;
    v1::FeedMessage message;
    v1::TenantEvent& event = *message.mutable_tenant();
    event.set_tenant_id(notice.tenant);
    event.set_state(state_of(notice));
    event.set_reason(notice.reason);
    event.set_message(notice.text);
    event.set_snap_token(encode_position_token(notice.position != 0 ? notice.position : head_));
    out->push_back(buffer_of(message));
  }
  if (pull.items.empty()) return;
  v1::FeedMessage message;
  for (const FeedItemPtr& item : pull.items) {
    v1::Transaction& transaction = *message.mutable_batch()->add_transactions();
    transaction.set_tenant_id(item->tenant);
    transaction.set_xid(item->xid);
    transaction.set_part(item->part);
    transaction.set_more_parts(item->more_parts);
    transaction.set_snap_token(item->snap_token);
    transaction.set_started_at_us(item->started_at_us);
    transaction.set_changes(item->changes);
    transaction.set_ahead(pull.ahead);
    if (item->unreadable != nullptr) {
      put_unreadable(*item->unreadable, transaction);
    } else if (item->life != nullptr) {
      put_life(*item->life, transaction);
    }
  }
  const FeedItem& last = *pull.items.back();
  if (!pull.ahead) implied_ = last.more_parts ? 0 : last.xid + 1;
  out->push_back(buffer_of(message));
}

void FeedSession::encode_heartbeat(uint64_t position, const TransactionIdentity& newest, Messages* out) {
  v1::FeedMessage message;
  message.mutable_heartbeat()->set_position(position);
  message.mutable_heartbeat()->set_snap_token(encode_position_token(position));
  if (can_be_told(newest)) put_identity(newest, *message.mutable_heartbeat()->mutable_newest());
  out->push_back(buffer_of(message));
}

}  // namespace headgate::engine
