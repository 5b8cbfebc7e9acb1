#include "engine/feed/item.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include "base/guard.h"
#include "engine/storage/json_size.h"

namespace headgate::engine {

namespace {

using base::v1::DataChange;
using base::v1::DataChanges;
using google::protobuf::io::CodedOutputStream;

constexpr uint32_t kLengthDelimited = 2;

uint32_t tag(int field) { return static_cast<uint32_t>(field) << 3 | kLengthDelimited; }

// Writes DataChanges field by field: the changes are already messages of their own and need not be copied into one.
std::string encode(const std::string& token, const DataChange* begin, const DataChange* end, size_t changes_bytes) {
  std::string bytes;
  bytes.reserve(changes_bytes + token.size() + 8);
  google::protobuf::io::StringOutputStream sink(&bytes);
  CodedOutputStream out(&sink);
  out.SetSerializationDeterministic(true);
  out.WriteTag(tag(DataChanges::kSnapTokenFieldNumber));
  out.WriteVarint32(static_cast<uint32_t>(token.size()));
  out.WriteString(token);
  for (const DataChange* change = begin; change != end; ++change) {
    out.WriteTag(tag(DataChanges::kDataChangesFieldNumber));
    out.WriteVarint32(static_cast<uint32_t>(change->GetCachedSize()));
    change->SerializeWithCachedSizes(&out);
  }
  out.Trim();
  return bytes;
}

// How many bytes a change takes inside DataChanges.
size_t encoded_size(const DataChange& change) {
  const size_t size = change.ByteSizeLong();
  return 1 + CodedOutputStream::VarintSize32(static_cast<uint32_t>(size)) + size;
}

std::shared_ptr<FeedItem> item_of(const HistoryTransaction& transaction) {
  auto item = std::make_shared<FeedItem>();
  item->tenant = transaction.tenant;
  item->xid = transaction.xid;
  item->started_at_us = transaction.started_at_us;
  item->nameless = !is_tenant_name(transaction.tenant);
  return item;
}

void tell_unreadable(const HistoryTransaction& transaction, FeedItem& item) {
  if (transaction.unreadable.rows == 0) return;
  item.unreadable = std::make_unique<const std::string>(transaction.unreadable.text());
}

}  // namespace

void encode_transaction(const HistoryTransaction& transaction, size_t part_bytes_max, std::vector<FeedItemPtr>* out) {
  if (transaction.life) {
    auto item = item_of(transaction);
    item->snap_token = encode_position_token(transaction.xid + 1);
    item->life = std::make_unique<const LifeEvent>(*transaction.life);
    tell_unreadable(transaction, *item);
    out->push_back(std::move(item));
    return;
  }
  const DataChange* const end = transaction.changes.data() + transaction.changes.size();
  const DataChange* begin = transaction.changes.data();
  uint32_t part = 0;
  const auto add = [&](bool more) -> FeedItem& {
    auto item = item_of(transaction);
    item->part = part++;
    item->more_parts = more;
    item->snap_token = more && guarded(Guard::kPartTokens) ? encode_position_token(transaction.xid)
                                                           : encode_legacy_token(transaction.xid);
    out->push_back(item);
    return *item;
  };
  if (transaction.unreadable.rows > 0) {
    tell_unreadable(transaction, add(begin != end));
    if (begin == end) return;
  }
  do {
    size_t bytes = 0, json_bytes = 0;
    const DataChange* stop = begin;
    while (stop != end) {
      const size_t size = encoded_size(*stop), json_size = json_bytes_at_most(*stop);
      if (stop != begin && (bytes + size > part_bytes_max || json_bytes + json_size > kJsonBytesMax)) break;
      bytes += size;
      json_bytes += json_size;
      ++stop;
    }
    FeedItem& item = add(stop != end);
    item.changes = encode(item.snap_token, begin, stop, bytes);
    begin = stop;
  } while (begin != end);
}

}  // namespace headgate::engine
