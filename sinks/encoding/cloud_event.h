// CloudEvents 1.0 out of an event and its delivery.
//
// id: "<tenant>/<xid>/<part>" of changes, the same on every retry; other events add "/<kind>-<sequence>", because they
// may share the place of a transaction, and heartbeats "/heartbeat-<their time>".
// Extensions, all of them texts: snaptoken, previoustoken, sequence (dense per tenant and sink, 20 digits),
// partitionkey (the tenant), moreparts ("true" on all but the last part), incarnation, entitytypes (of the changes,
// with commas), reason (of a gap), snapshotcontinuation (of the beginning and the pages of a snapshot), schemaversion,
// previousschemaversion, late ("true"), position (of a heartbeat, 20 digits). traceparent and tracestate are reserved.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "sinks/encoding/settings.h"
#include "sinks/event.h"

namespace headgate::sinks {

struct Attribute {
  std::string_view name;  // as in the specification, without a prefix
  std::string_view value;
};

// One encoded event. The views point into this object, the event and the encoder; all must stay while they are used.
class Encoded {
 public:
  Encoded() = default;
  Encoded(const Encoded&) = delete;
  Encoded& operator=(const Encoded&) = delete;

  std::string_view id() const { return id_; }
  // Without datacontenttype, which binary modes carry elsewhere.
  const Attribute* begin() const { return attributes_.data(); }
  const Attribute* end() const { return attributes_.data() + count_; }
  std::string_view content_type() const { return content_type_; }
  std::string_view data() const { return data_; }  // never empty
  size_t bytes() const;                            // of data and attributes, about

 private:
  friend class Encoder;
  void add(std::string_view name, std::string_view value) { attributes_[count_++] = {name, value}; }

  std::array<Attribute, 24> attributes_;
  size_t count_ = 0;
  std::string_view content_type_;
  std::string_view data_;
  std::string id_;
  std::string source_;
  std::string time_;
  std::string sequence_;
  std::string position_;
  std::string own_data_;
};

// Not thread-safe; one for each sink. The costly texts are kept in the event and shared.
class Encoder {
 public:
  // INVALID_ARGUMENT for settings that cannot work.
  static StatusOr<Encoder> make(const EncodingSettings& settings);

  // Binary mode. INVALID_ARGUMENT when the payload is not what it should be.
  Status encode(const Delivery& delivery, Encoded& out) const;
  // Structured mode, one line without a line feed. Appends to `out`.
  Status encode_structured(const Delivery& delivery, std::string& out) const;

 private:
  explicit Encoder(EncodingSettings settings);
  Status set_data(const Event& event, Encoded& out) const;
  void set_time(int64_t unix_us, std::string& out) const;
  static void add_extensions(const Delivery& delivery, Encoded& out);

  EncodingSettings settings_;
  std::string source_start_;
  // The last second that was written, and its text.
  mutable int64_t second_ = 0;
  mutable std::string second_text_;
};

// "changes", "gap" and so on; and the CloudEvents type.
std::string_view kind_word(EventKind kind);
std::string_view type_of(EventKind kind);

std::string event_id(const Delivery& delivery);
// Microseconds since the epoch as RFC 3339, "2026-11-21T15:04:05.000001Z". It knows the years 0 to 9999 alone; an event
// of another time, which only a source that is out of its mind sends, goes without one.
std::string rfc3339(int64_t unix_us);
bool has_rfc3339(int64_t unix_us);
// Of a text that rfc3339() made.
std::optional<int64_t> parse_rfc3339(std::string_view text);
// "type:id" when all changes are of one entity, else empty. Made once per event, which the text belongs to.
std::string_view entity_of(const Event& event);
// The entity types of the changes in order, with commas between them. Empty: none, or more than fit into 1 KiB.
std::string_view entity_types_of(const Event& event);
// The data as protobuf JSON, made once per event.
StatusOr<const std::string*> json_of(const Event& event);

// Content type of structured mode.
inline constexpr std::string_view kStructuredType = "application/cloudevents+json; charset=UTF-8";

// What a sink finds of itself: `get` looks an attribute up by name. INVALID_ARGUMENT when it is no event of ours,
// NOT_FOUND for a heartbeat, which says nothing of a sink's place.
struct Found {
  std::string tenant;
  Cursor cursor;
  EventKind kind = EventKind::kChanges;
};
using AttributeLookup = std::function<std::optional<std::string>(std::string_view name)>;
StatusOr<Found> read_back(const AttributeLookup& get);
// Of one line in structured mode.
StatusOr<Found> read_back_structured(std::string_view line);

// True when `held` is at or behind `delivery`'s place, so that the sink need not store it again. A higher sequence is
// always new. Control events and pages of a snapshot share the places of transactions, so their sequence alone counts.
bool already_held(const Cursor& held, const Delivery& delivery);

}  // namespace headgate::sinks
