#include "engine/rpc/validation.h"

#include <google/protobuf/descriptor.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "headgate/v1/feed.pb.h"

namespace headgate::engine {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The patterns as clients see them in texts, backslashes doubled.
constexpr const char* kIdPattern = R"("^([a-zA-Z0-9_\\-@\\.:+]{1,128}|\\*)$")";
constexpr const char* kNamePattern = R"("^[a-zA-Z_]{1,64}$")";
constexpr const char* kNewTenantPattern = R"("[a-zA-Z0-9-,]+")";

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool is_id(const std::string& text) {
  if (text == "*") return true;
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '_' || c == '-' || c == '@' || c == '.' || c == ':' || c == '+';
  });
}

bool is_name(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return is_letter(c) || c == '_'; });
}

// The pattern is not anchored: one such character anywhere is enough.
bool is_new_tenant_id(const std::string& text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '-' || c == ','; });
}

// "" when the text is fine. The length in bytes is judged before the pattern.
std::string judge_text(const std::string& text, size_t bytes_max, bool matches, const char* pattern) {
  if (text.size() > bytes_max) return fmt::format("value length must be at most {} bytes", bytes_max);
  if (!matches) return fmt::format("value does not match regex pattern {}", pattern);
  return "";
}

// "" when the value of `field` satisfies `rule`.
std::string judge(FieldRule rule, const Message& message, const FieldDescriptor* field) {
  const Reflection* reflection = message.GetReflection();
  std::string scratch;
  const auto text = [&]() -> const std::string& { return reflection->GetStringReference(message, field, &scratch); };
  switch (rule) {
    case FieldRule::kTenantOrId: return judge_text(text(), 128, is_id(text()), kIdPattern);
    case FieldRule::kName: return judge_text(text(), 64, is_name(text()), kNamePattern);
    case FieldRule::kNameOrEmpty: return text().empty() ? "" : judge_text(text(), 64, is_name(text()), kNamePattern);
    case FieldRule::kRequired: return reflection->HasField(message, field) ? "" : "value is required";
    case FieldRule::kAtLeastOne:
      return reflection->FieldSize(message, field) > 0 ? "" : "value must contain at least 1 item(s)";
    case FieldRule::kOneToHundred: {
      const int size = reflection->FieldSize(message, field);
      return size >= 1 && size <= 100 ? "" : "value must contain between 1 and 100 items, inclusive";
    }
    case FieldRule::kDepth:
      return reflection->GetInt32(message, field) >= 3 ? "" : "value must be greater than or equal to 3";
    case FieldRule::kNewTenantId: return judge_text(text(), 64, is_new_tenant_id(text()), kNewTenantPattern);
    case FieldRule::kNewTenantName: return judge_text(text(), 64, true, "");
  }
  return "";
}

// "tenant_id" -> "TenantId", as the texts write fields.
std::string written_name(const std::string& field) {
  std::string out;
  bool upper = true;
  for (const char c : field) {
    if (c == '_') {
      upper = true;
    } else {
      out += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
      upper = false;
    }
  }
  return out;
}

std::string find_zero_byte(const Message& message);

// Of one text, or of what stands inside of one message.
std::string find_zero_byte(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* reflection = message.GetReflection();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    return find_zero_byte(index < 0 ? reflection->GetMessage(message, field)
                                    : reflection->GetRepeatedMessage(message, field, index));
  }
  std::string scratch;
  const std::string& text = index < 0 ? reflection->GetStringReference(message, field, &scratch)
                                      : reflection->GetRepeatedStringReference(message, field, index, &scratch);
  if (text.find('\0') == std::string::npos) return "";
  return fmt::format("invalid {}.{}: value must not hold a zero byte", message.GetDescriptor()->name(),
                     written_name(field->name()));
}

// PostgreSQL's texts end at a zero byte, and a name that was cut is another name. Bytes of attribute values are judged
// where they are stored.
std::string find_zero_byte(const Message& message) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->type() != FieldDescriptor::TYPE_STRING && field->type() != FieldDescriptor::TYPE_MESSAGE) continue;
    const int size = field->is_repeated() ? message.GetReflection()->FieldSize(message, field) : 1;
    for (int i = 0; i < size; ++i) {
      std::string found = find_zero_byte(message, field, field->is_repeated() ? i : -1);
      if (!found.empty()) return found;
    }
  }
  return "";
}

std::string embedded(const std::string& message, const std::string& field, const std::string& cause) {
  return fmt::format("invalid {}.{}: embedded message failed validation | caused by: {}", message, field, cause);
}

std::string full_name(const FieldRuleRow& row) {
  const std::string name = row.message;
  return name.find('.') == std::string::npos ? "base.v1." + name : name;
}

}  // namespace

// What is to be looked at in one message type; fields without rules, own or inside, are left out.
struct Validator::Plan {
  struct Step {
    const FieldDescriptor* field;
    std::optional<FieldRule> rule;
    const Plan* inside;  // null: nothing to look at inside
    std::string name;
  };
  std::string message;
  std::vector<Step> steps;
};

Validator::Validator() {
  // A program that never uses the feed's messages itself may have left their file out.
  HG_CHECK(v1::ReadSnapshotRequest::descriptor() != nullptr);
  for (const FieldRuleRow& row : field_rules()) {
    const auto* pool = google::protobuf::DescriptorPool::generated_pool();
    const Descriptor* type = pool->FindMessageTypeByName(full_name(row));
    HG_CHECK(type != nullptr && type->FindFieldByName(row.field) != nullptr);
    plan_of(type);
  }
  // Requests whose rules are all inside of other messages.
  const auto* file = google::protobuf::DescriptorPool::generated_pool()->FindFileByName("base/v1/service.proto");
  HG_CHECK(file != nullptr);
  for (int i = 0; i < file->message_type_count(); ++i) plan_of(file->message_type(i));
}

Validator::~Validator() = default;

const Validator::Plan* Validator::plan_of(const Descriptor* type) {
  const auto found = plans_.find(type);
  if (found != plans_.end()) return found->second.get();
  Plan& plan = *(plans_[type] = std::make_unique<Plan>());
  plan.message = type->name();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    Plan::Step step{field, std::nullopt, nullptr, written_name(field->name())};
    for (const FieldRuleRow& row : field_rules()) {
      if (type->full_name() == full_name(row) && field->name() == row.field) step.rule = row.rule;
    }
    // Values of maps have no rules in this API.
    const bool is_ours = field->message_type() != nullptr && field->message_type()->file()->package() == "base.v1";
    if (is_ours && !field->is_map()) step.inside = plan_of(field->message_type());
    if (step.inside != nullptr && step.inside != &plan && step.inside->steps.empty()) step.inside = nullptr;
    if (step.rule || step.inside != nullptr) plan.steps.push_back(std::move(step));
  }
  return &plan;
}

std::string Validator::walk(const Plan& plan, const Message& message) {
  const Reflection* reflection = message.GetReflection();
  for (const Plan::Step& step : plan.steps) {
    if (step.rule) {
      const std::string reason = judge(*step.rule, message, step.field);
      if (!reason.empty()) return fmt::format("invalid {}.{}: {}", plan.message, step.name, reason);
    }
    if (step.inside == nullptr) continue;
    if (!step.field->is_repeated()) {
      if (!reflection->HasField(message, step.field)) continue;
      const std::string cause = walk(*step.inside, reflection->GetMessage(message, step.field));
      if (!cause.empty()) return embedded(plan.message, step.name, cause);
      continue;
    }
    for (int i = 0; i < reflection->FieldSize(message, step.field); ++i) {
      const std::string cause = walk(*step.inside, reflection->GetRepeatedMessage(message, step.field, i));
      if (!cause.empty()) return embedded(plan.message, fmt::format("{}[{}]", step.name, i), cause);
    }
  }
  return "";
}

Status Validator::check(const Message& request) const {
  const auto plan = plans_.find(request.GetDescriptor());
  if (plan == plans_.end()) return ok_status();
  std::string text = walk(*plan->second, request);
  if (text.empty()) text = find_zero_byte(request);
  return text.empty() ? ok_status() : make_status(StatusCode::kInvalidArgument, text);
}

}  // namespace headgate::engine
