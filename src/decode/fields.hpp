// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Fields that messages have in common, each read once and checked where it is read.
#pragma once

#include "walign/decode.hpp"

namespace walign::decode {

// The field that began at `offset` has a value that means nothing.
[[noreturn]] void refuse(const char* field, std::size_t offset, const std::string& what);

// One byte of flags, none outside `known`.
std::uint8_t read_flags(ByteReader& reader, std::uint8_t known, const char* field);

// A schema's name; an empty one stands for pg_catalog.
std::string_view read_schema(ByteReader& reader);

// A time stamp as microseconds since 1970.
std::int64_t read_time(ByteReader& reader, const char* field);

}  // namespace walign::decode
