// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "decode/fields.hpp"

namespace walign::decode {

namespace {

[[noreturn]] void unknown_kind(const char* field, std::size_t column, std::size_t offset, std::uint8_t kind) {
  refuse(field, offset, cat("has an unknown kind of value in column ", column, ": ", static_cast<int>(kind)));
}

}  // namespace

// tuple := count:u16 { 'n' | 'u' | ('t' | 'b') length:u32 bytes }*count
TupleView TupleView::read(ByteReader& reader, const char* field) {
  TupleView tuple;
  tuple.columns_ = reader.u16(field);
  // A reader of its own stays in registers; the caller's moves once, over a tuple that has been walked.
  ByteReader walk = reader;
  for (std::uint16_t i = 0; i < tuple.columns_; ++i) {
    const std::uint8_t kind = walk.u8(field);
    if (kind == 't' || kind == 'b') {
      const std::uint32_t length = walk.u32(field);
      walk.bytes(length, field);
      tuple.value_bytes_ += length;
    } else if (kind != 'n' && kind != 'u') {
      unknown_kind(field, i, walk.offset() - 1, kind);
    }
  }
  tuple.encoded_ = reader.bytes(walk.offset() - reader.offset(), field);
  return tuple;
}

}  // namespace walign::decode
