// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the other files of this module need to know of logging.
#pragma once

#include "walign/obs.hpp"

namespace walign::obs {

LogFormat log_format();

}  // namespace walign::obs
