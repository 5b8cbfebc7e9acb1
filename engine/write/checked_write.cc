#include "engine/write/checked_write.h"

#include "engine/model/errors.h"
#include "engine/write/validation.h"

namespace headgate::engine {

StatusOr<SnapToken> WriteParts::announce(StatusOr<SnapToken> token) const {
  if (token.ok() && written) written(token->xid);
  return token;
}

bool CheckedWrite::begin(std::function<Status()> wanted, std::function<void(bool blocks)> ready) {
  if (!version_.empty()) return false;
  Data data = data_of_();
  verdict_ = check_at_guess(data);
  if (!verdict_ || !verdict_->ok()) return false;
  const auto attempted = [self = shared_from_this(), ready = std::move(ready)](const auto& pending) {
    self->pending_ = pending;
    ready(pending->blocks());
  };
  DataWrite write{tenant_, std::move(data.tuples), std::move(data.attributes), guess_, std::move(wanted)};
  return parts_.store.writer->begin(std::move(write), attempted) != nullptr;
}

StatusOr<SnapToken> CheckedWrite::get() {
  if (verdict_ && verdict_->ok()) {
    WriteOutcome outcome = write_at_guess();
    if (!outcome.head_moved) return parts_.announce(std::move(outcome.token));
  }
  std::string version = version_;
  if (version.empty()) {
    HG_ASSIGN_OR_RETURN(version, parts_.store.schemas->head_version(tenant_));
    parts_.schemas.saw_newest(tenant_, version);
  }
  Data data = data_of_();
  const bool is_checked = verdict_ && version == guess_;
  HG_RETURN_IF_ERROR(is_checked ? *verdict_ : check(version, data));
  return parts_.announce(parts_.store.writer->write(tenant_, std::move(data.tuples), std::move(data.attributes)));
}

WriteOutcome CheckedWrite::write_at_guess() {
  if (pending_ != nullptr) return pending_->get();
  Data data = data_of_();
  return parts_.store.writer->write(DataWrite{tenant_, std::move(data.tuples), std::move(data.attributes), guess_, {}});
}

std::optional<Status> CheckedWrite::check_at_guess(const Data& data) {
  guess_ = parts_.schemas.newest_seen(tenant_);
  if (guess_.empty() || parts_.schemas.get_cached(tenant_, guess_) == nullptr) return std::nullopt;
  return check(guess_, data);
}

Status CheckedWrite::check(const std::string& version, const Data& data) const {
  HG_RETURN_IF_ERROR(check_all(version, data));
  if (data.tuples.size() + data.attributes.size() > parts_.settings.data_per_write_max) {
    return api_error(base::v1::ERROR_CODE_MAX_DATA_PER_WRITE_EXCEEDED);
  }
  for (const base::v1::Attribute& attribute : data.attributes) {
    HG_RETURN_IF_ERROR(check_size(attribute, parts_.settings.attribute_json_bytes_max));
  }
  return ok_status();
}

// A write without rows looks nothing up, so that it succeeds under a version nobody knows, as in Permify.
Status CheckedWrite::check_all(const std::string& version, const Data& data) const {
  if (data.tuples.empty() && data.attributes.empty()) return ok_status();
  HG_ASSIGN_OR_RETURN(const auto schema, parts_.schemas.get(tenant_, version));
  for (const base::v1::Tuple& tuple : data.tuples) HG_RETURN_IF_ERROR(validate(tuple, *schema));
  for (const base::v1::Attribute& attribute : data.attributes) HG_RETURN_IF_ERROR(validate(attribute, *schema));
  return ok_status();
}

}  // namespace headgate::engine
