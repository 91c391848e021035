// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "decode/fields.hpp"

#include <limits>

namespace walign::decode {

void refuse(const char* field, std::size_t offset, const std::string& what) {
  throw Error(ErrorKind::malformed, cat("field ", field, " at offset ", offset, " ", what));
}

std::uint8_t read_flags(ByteReader& reader, std::uint8_t known, const char* field) {
  const std::size_t offset = reader.offset();
  const std::uint8_t flags = reader.u8(field);
  if ((flags & ~known) != 0) refuse(field, offset, cat("has unknown bits: ", static_cast<int>(flags)));
  return flags;
}

std::string_view read_schema(ByteReader& reader) {
  const std::string_view schema = reader.cstring("schema");
  return schema.empty() ? std::string_view("pg_catalog") : schema;
}

std::int64_t read_time(ByteReader& reader, const char* field) {
  const std::size_t offset = reader.offset();
  const std::int64_t since_2000 = reader.i64(field);
  if (since_2000 > std::numeric_limits<std::int64_t>::max() - kPostgresEpochMicros) {
    refuse(field, offset, "is past the end of time");
  }
  return since_2000 + kPostgresEpochMicros;
}

}  // namespace walign::decode
