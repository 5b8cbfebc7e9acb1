#include "engine/storage/schema_version.h"

#include <random>

#include "base/backoff.h"

namespace headgate::engine {

namespace {

constexpr std::string_view kAlphabet = "0123456789abcdefghijklmnopqrstuv";
constexpr size_t kBytes = 12;
constexpr size_t kCharacters = 20;

using Bytes = std::array<unsigned char, kBytes>;

std::string encode(const Bytes& bytes) {
  std::string text;
  uint32_t bits = 0;
  int count = 0;
  for (const unsigned char byte : bytes) {
    bits = bits << 8 | byte;
    for (count += 8; count >= 5; count -= 5) text += kAlphabet[bits >> (count - 5) & 31];
  }
  text += kAlphabet[bits << (5 - count) & 31];
  return text;
}

}  // namespace

std::optional<int64_t> seconds_of_schema_version(std::string_view version) {
  if (version.size() != kCharacters) return std::nullopt;
  uint64_t bits = 0;
  for (size_t i = 0; i < kCharacters; ++i) {
    const size_t value = kAlphabet.find(version[i]);
    if (value == std::string_view::npos) return std::nullopt;
    if (i < 7) bits = bits << 5 | value;
  }
  return static_cast<int64_t>(bits >> 3);
}

SchemaVersions::SchemaVersions(Clock& clock) : clock_(clock) {
  std::mt19937_64 random(random_seed());
  for (unsigned char& byte : process_) byte = static_cast<unsigned char>(random());
  counter_ = static_cast<uint32_t>(random());
}

StatusOr<std::string> SchemaVersions::next(std::string_view head) {
  int64_t seconds = clock_.unix_micros() / 1'000'000;
  for (int attempt = 0; attempt < 2; ++attempt) {
    const uint32_t counter = counter_.fetch_add(1);
    Bytes bytes{};
    for (int i = 0; i < 4; ++i) bytes[i] = static_cast<unsigned char>(seconds >> (24 - 8 * i));
    std::copy(process_.begin(), process_.end(), bytes.begin() + 4);
    for (int i = 0; i < 3; ++i) bytes[9 + i] = static_cast<unsigned char>(counter >> (16 - 8 * i));
    const std::string version = encode(bytes);
    if (version > head) return version;
    const std::optional<int64_t> ahead = seconds_of_schema_version(head);
    if (!ahead.has_value() || *ahead >= UINT32_MAX) break;
    seconds = *ahead + 1;
  }
  return internal_error("no schema version can follow {}", head);
}

}  // namespace headgate::engine
