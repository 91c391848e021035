// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/verify.hpp"
