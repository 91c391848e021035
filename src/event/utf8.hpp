// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace walign::event {

// Whether text is UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
// protobuf writes a string that is not, with a warning, and refuses to read it back.
bool is_utf8(std::string_view text);

}  // namespace walign::event
