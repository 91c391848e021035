// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// cutover: the change of the side that takes writes, and back.
#pragma once

#include "walign/stream.hpp"

namespace walign::cutover {

}  // namespace walign::cutover
