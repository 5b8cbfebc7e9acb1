// Where the keys of a cluster are.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/redis/reply.h"
#include "base/redis/settings.h"

namespace headgate::redis {

inline constexpr size_t kSlots = 16'384;

// CRC-16 (XMODEM), Redis Cluster's hash; clients in every language have it.
uint16_t crc16(std::string_view text);
// What of a key decides its slot: what stands in its first braces, when that is not empty, else all.
std::string_view hash_tag(std::string_view key);
uint16_t slot_of(std::string_view key);

// A value. Empty before the first look.
class SlotMap {
 public:
  // Of CLUSTER SLOTS. `asked` is the server that answered: it may not know its own address.
  static StatusOr<SlotMap> parse(const redisReply* reply, const Address& asked);

  // The master of a slot; nullptr when nobody serves it.
  const Address* master_of(uint16_t slot) const;
  const std::vector<Address>& masters() const { return masters_; }
  bool has_master(const Address& address) const;
  void move(uint16_t slot, const Address& to);

 private:
  static constexpr uint16_t kNobody = 0xffff;

  SlotMap() { owners_.fill(kNobody); }
  uint16_t index_of(const Address& master);

  std::vector<Address> masters_;
  std::array<uint16_t, kSlots> owners_;  // into masters_
};

}  // namespace headgate::redis
