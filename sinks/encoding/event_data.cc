#include "sinks/encoding/event_data.h"

#include <google/protobuf/util/json_util.h>

#include <set>

#include "base/v1/base.pb.h"
#include "headgate/v1/event.pb.h"
#include "sinks/encoding/cloud_event.h"

namespace headgate::sinks {
namespace {

namespace pb = ::base::v1;
namespace wire = ::headgate::v1;

// Of the list of types; an event about more than fit goes without it.
constexpr size_t kTypesBytesMax = 1024;

const pb::Entity* entity_of_change(const pb::DataChange& change) {
  if (change.has_tuple()) return &change.tuple().entity();
  if (change.has_attribute()) return &change.attribute().entity();
  return nullptr;
}

// A list has its own rules, which a name of another system's making need not obey.
bool fits_list(const std::string& type) {
  return !type.empty() && std::all_of(type.begin(), type.end(), [](char c) { return c > ' ' && c < 0x7f && c != ','; });
}

std::string list_of(const std::set<std::string>& types) {
  std::string list;
  for (const std::string& type : types) {
    if (!fits_list(type) || list.size() + type.size() + 1 > kTypesBytesMax) return {};
    if (!list.empty()) list += ',';
    list += type;
  }
  return list;
}

// "<types>\n<subject>": the types of all changes in order, and type:id when all are of one entity.
std::string make_entities(const Event& event) {
  // A message that is parsed into again keeps its parts, so that the usual small event allocates nothing.
  constexpr size_t kKeptBytes = 4096;
  thread_local pb::DataChanges kept;
  pb::DataChanges large;
  pb::DataChanges& changes = event.payload.size() <= kKeptBytes ? kept : large;
  if (!has_changes(event.kind) || !changes.ParseFromString(event.payload)) return "\n";
  std::set<std::string> types;
  const pb::Entity* common = nullptr;
  bool several = false;
  for (const pb::DataChange& change : changes.data_changes()) {
    const pb::Entity* entity = entity_of_change(change);
    if (entity == nullptr) return "\n";
    if (common == nullptr || entity->type() != common->type()) types.insert(entity->type());
    if (common == nullptr) common = entity;
    several = several || entity->type() != common->type() || entity->id() != common->id();
  }
  const bool one = common != nullptr && !several && !common->type().empty() && !common->id().empty();
  return list_of(types) + '\n' + (one ? common->type() + ':' + common->id() : std::string());
}

const std::string& entities_of(const Event& event) {
  return *event.derived.get(DerivedTexts::kEntities, [&]() -> StatusOr<std::string> { return make_entities(event); })
              .first;
}

wire::Event::Kind kind_on_wire(EventKind kind) {
  switch (kind) {
    case EventKind::kHeartbeat: return wire::Event::KIND_HEARTBEAT;
    case EventKind::kGap: return wire::Event::KIND_GAP;
    case EventKind::kSnapshotBegin: return wire::Event::KIND_SNAPSHOT_BEGIN;
    case EventKind::kSnapshotEnd: return wire::Event::KIND_SNAPSHOT_END;
    case EventKind::kTenantCreated: return wire::Event::KIND_TENANT_CREATED;
    case EventKind::kTenantRemoved: return wire::Event::KIND_TENANT_REMOVED;
    case EventKind::kSchemaChanged: return wire::Event::KIND_SCHEMA_CHANGED;
    case EventKind::kChanges:
    case EventKind::kSnapshotPage: break;
  }
  return wire::Event::KIND_UNSPECIFIED;
}

wire::Event control_message(const Event& event) {
  wire::Event message;
  message.set_snap_token(event.snap_token);
  if (has_changes(event.kind)) return message;
  wire::Event::Control& control = *message.mutable_control();
  control.set_kind(kind_on_wire(event.kind));
  control.set_tenant(event.tenant);
  control.set_reason(event.reason);
  control.set_schema_version(event.schema_version);
  control.set_previous_schema_version(event.previous_schema_version);
  control.set_late(event.late);
  if (event.kind == EventKind::kHeartbeat) control.set_position(event.xid);
  return message;
}

StatusOr<std::string> json_text(const google::protobuf::Message& message, const Event& event) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (status.ok()) return json;
  return invalid_argument("event {}/{}/{}: the payload cannot be written as JSON: {}", event.tenant, event.xid,
                          event.part, status.ToString());
}

StatusOr<std::string> make_json(const Event& event) {
  if (!has_changes(event.kind) || event.payload.empty()) return json_text(control_message(event), event);
  pb::DataChanges changes;
  if (!changes.ParseFromString(event.payload)) {
    return invalid_argument("event {}/{}/{}: the payload is not a DataChanges message", event.tenant, event.xid,
                            event.part);
  }
  return json_text(changes, event);
}

}  // namespace

std::string_view entity_of(const Event& event) {
  const std::string_view entities = entities_of(event);
  return entities.substr(entities.find('\n') + 1);
}

std::string_view entity_types_of(const Event& event) {
  const std::string_view entities = entities_of(event);
  return entities.substr(0, entities.find('\n'));
}

StatusOr<const std::string*> json_of(const Event& event) {
  auto [text, status] = event.derived.get(DerivedTexts::kJson, [&] { return make_json(event); });
  if (!status.ok()) return status;
  return text;
}

std::string control_payload(const Event& event) { return control_message(event).SerializeAsString(); }

std::string confluent_frame(uint32_t schema_id, std::string_view payload) {
  std::string frame(1, '\0');
  for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(schema_id >> shift & 0xff);
  frame += '\0';  // the first message of the file
  frame += payload;
  return frame;
}

}  // namespace headgate::sinks
