#include "base/redis/slots.h"

#include <algorithm>

namespace headgate::redis {

uint16_t crc16(std::string_view text) {
  uint16_t crc = 0;
  for (const char c : text) {
    crc ^= static_cast<uint16_t>(static_cast<unsigned char>(c) << 8);
    for (int bit = 0; bit < 8; ++bit) crc = static_cast<uint16_t>((crc & 0x8000) != 0 ? crc << 1 ^ 0x1021 : crc << 1);
  }
  return crc;
}

std::string_view hash_tag(std::string_view key) {
  const size_t open = key.find('{');
  if (open == std::string_view::npos) return key;
  const size_t close = key.find('}', open);
  return close == std::string_view::npos || close == open + 1 ? key : key.substr(open + 1, close - open - 1);
}

uint16_t slot_of(std::string_view key) { return crc16(hash_tag(key)) % kSlots; }

StatusOr<SlotMap> SlotMap::parse(const redisReply* reply, const Address& asked) {
  const auto odd = [] { return unavailable("CLUSTER SLOTS has an odd answer"); };
  if (reply->type != REDIS_REPLY_ARRAY) return odd();
  SlotMap map;
  for (size_t i = 0; i < reply->elements; ++i) {
    const redisReply* range = reply->element[i];
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 || range->element[2]->elements < 2) return odd();
    const long long first = range->element[0]->integer;
    const long long last = range->element[1]->integer;
    const redisReply* master = range->element[2];
    if (first < 0 || last >= static_cast<long long>(kSlots) || first > last) return odd();
    Address address{std::string(text_of(master->element[0])), static_cast<uint16_t>(master->element[1]->integer)};
    if (address.host.empty() || address.host == "?") address.host = asked.host;
    const uint16_t owner = map.index_of(address);
    std::fill(map.owners_.begin() + first, map.owners_.begin() + last + 1, owner);
  }
  return map;
}

uint16_t SlotMap::index_of(const Address& master) {
  const auto it = std::find(masters_.begin(), masters_.end(), master);
  if (it != masters_.end()) return static_cast<uint16_t>(it - masters_.begin());
  masters_.push_back(master);
  return static_cast<uint16_t>(masters_.size() - 1);
}

const Address* SlotMap::master_of(uint16_t slot) const {
  const uint16_t owner = owners_[slot % kSlots];
  return owner == kNobody ? nullptr : &masters_[owner];
}

bool SlotMap::has_master(const Address& address) const {
  return std::find(masters_.begin(), masters_.end(), address) != masters_.end();
}

void SlotMap::move(uint16_t slot, const Address& to) { owners_[slot % kSlots] = index_of(to); }

}  // namespace headgate::redis
