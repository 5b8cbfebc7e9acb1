#include "sinks/nats/message.h"

#include "sinks/encoding/names.h"

namespace headgate::sinks {

void MessageMaker::begin(const Encoded& encoded) {
  encoded_ = &encoded;
  lines_.clear();
  for (const Attribute& attribute : encoded) {
    lines_ += "ce-";
    lines_ += attribute.name;
    lines_ += ": ";
    append_header_value(lines_, attribute.value);
    lines_ += "\r\n";
  }
  // The binding of CloudEvents says so; content-type, which the library's other users look at, follows in end().
  add("ce-datacontenttype", encoded.content_type());
}

void MessageMaker::add(std::string_view name, std::string_view value) {
  lines_ += name;
  lines_ += ": ";
  lines_ += value;
  lines_ += "\r\n";
}

void MessageMaker::add(std::string_view name, uint64_t value) {
  const fmt::format_int digits(value);
  add(name, std::string_view(digits.data(), digits.size()));
}

void MessageMaker::add_message_id(uint64_t sequence) {
  message_id_.clear();
  append_header_value(message_id_, encoded_->id());
  message_id_ += '#';
  const fmt::format_int digits(sequence);
  message_id_.append(digits.data(), digits.size());
  add("Nats-Msg-Id", message_id_);
}

StatusOr<NatsOwned<natsMsg>> MessageMaker::end(const std::string& subject, const std::string& reply) {
  natsMsg* raw = nullptr;
  const std::string_view data = encoded_->data();
  const natsStatus created = natsMsg_Create(&raw, subject.c_str(), reply.empty() ? nullptr : reply.c_str(), data.data(),
                                            static_cast<int>(data.size()));
  HG_RETURN_IF_ERROR(status_of_nats(created, "make a message"));
  NatsOwned<natsMsg> message(raw);
  lines_ += "content-type";
  HG_RETURN_IF_ERROR(set_header(raw, lines_, std::string(encoded_->content_type())));
  return message;
}

}  // namespace headgate::sinks
