// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/record.hpp"

#include "state/format.hpp"

namespace walign::state {

namespace {

template <class U>
void append_big_endian(std::string& out, U value) {
  for (int shift = 8 * static_cast<int>(sizeof(U)) - 8; shift >= 0; shift -= 8) {
    out += static_cast<char>(static_cast<std::uint8_t>(value >> static_cast<unsigned>(shift)));
  }
}

}  // namespace

std::string encode_record(std::string_view payload) {
  WALIGN_CHECK(payload.size() <= UINT32_MAX);
  std::string out;
  out.reserve(5 + payload.size());
  out += static_cast<char>(kFormat);
  append_big_endian(out, static_cast<std::uint32_t>(payload.size()));
  out += payload;
  return out;
}

std::string encode_record(const google::protobuf::MessageLite& message) {
  return encode_record(message.SerializeAsString());
}

namespace {

struct Stored {
  unsigned format;
  std::string_view payload;
};

Stored read_record(std::string_view record) {
  ByteReader reader(as_bytes(record));
  const unsigned format = reader.u8("format");
  require_known_format(format, "the record");
  const auto length = reader.u32("length");
  const auto payload = reader.bytes(length, "payload");
  reader.expect_end("the record");
  return {format, as_text(payload)};
}

bool parse(std::string_view payload, google::protobuf::MessageLite& message) {
  return payload.size() <= INT32_MAX &&
         message.ParseFromArray(payload.data(), static_cast<int>(payload.size()));
}

}  // namespace

std::string decode_record(std::string_view record) {
  const auto stored = read_record(record);
  return upgraded("", std::string(stored.payload), stored.format);
}

void decode_record(std::string_view record, google::protobuf::MessageLite& message) {
  const auto stored = read_record(record);
  const bool read =
      stored.format == kFormat
          ? parse(stored.payload, message)
          : parse(upgraded(message.GetTypeName(), std::string(stored.payload), stored.format), message);
  if (!read) throw Error(ErrorKind::malformed, cat("the record is not a ", message.GetTypeName()));
}

std::string encode_key(Lsn lsn) {
  std::string out;
  append_big_endian(out, lsn.value);
  return out;
}

Lsn decode_key(std::string_view key) {
  ByteReader reader(as_bytes(key));
  const Lsn lsn(reader.u64("durable LSN"));
  reader.expect_end("the key");
  return lsn;
}

}  // namespace walign::state
