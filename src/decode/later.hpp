// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The messages that protocol versions after the first have.
#pragma once

#include "walign/decode.hpp"

namespace walign::decode {

// `tag` is one of theirs, and the version has it.
Message read_later(char tag, ByteReader& reader, const Place& place);

}  // namespace walign::decode
