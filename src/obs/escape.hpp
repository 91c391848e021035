// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Text from anywhere made safe for one line of a log. Control characters (C0, DEL, C1), Unicode's line
// and paragraph separators, and bytes that are not UTF-8 are escaped; everything else stays as it is.
#pragma once

#include "walign/base.hpp"

namespace walign::obs {

// \n \r \t \xHH \uHHHH; a backslash stays one.
std::string escape_text(std::string_view text);
// A field's value in a text log: as it is if it is plain, else in quotes.
std::string quote_text(std::string_view value);
// With its quotes; bytes that are not UTF-8 become U+FFFD.
std::string quote_json(std::string_view text);

}  // namespace walign::obs
