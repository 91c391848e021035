// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// verify: both sides compared at one position of the source's WAL, while both run.
#pragma once

#include "walign/stream.hpp"

namespace walign::verify {

}  // namespace walign::verify
