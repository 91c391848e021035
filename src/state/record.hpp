// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// How a value lies on disk: u8 format (state/format.hpp), u32 length of the payload, big-endian, payload. Protobuf
// alone would take many a truncated message for a shorter one; with the length none is.
#pragma once

#include <google/protobuf/message_lite.h>

#include "walign/base.hpp"

namespace walign::state {

std::string encode_record(std::string_view payload);
std::string encode_record(const google::protobuf::MessageLite& message);

// The payload. Throws Error(malformed).
std::string decode_record(std::string_view record);
void decode_record(std::string_view record, google::protobuf::MessageLite& message);

// Checkpoints' keys: in byte order, LSNs are in their own.
std::string encode_key(Lsn lsn);
Lsn decode_key(std::string_view key);

}  // namespace walign::state
