// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/record.hpp"

namespace walign::state {

namespace {

constexpr std::uint8_t kFormat = 1;

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

std::string_view decode_record(std::string_view record) {
  ByteReader reader(as_bytes(record));
  const auto format = reader.u8("format");
  if (format != kFormat) {
    throw Error(ErrorKind::malformed,
                cat("the record has format ", format, ", this program reads format ", kFormat),
                "if a newer walign wrote it, run that one");
  }
  const auto length = reader.u32("length");
  const auto payload = reader.bytes(length, "payload");
  reader.expect_end("the record");
  return as_text(payload);
}

void decode_record(std::string_view record, google::protobuf::MessageLite& message) {
  const auto payload = decode_record(record);
  if (payload.size() > INT32_MAX ||
      !message.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
    throw Error(ErrorKind::malformed, cat("the record is not a ", message.GetTypeName()));
  }
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
