// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Nothing but the header: CMake makes a precompiled one only for a target that has a source which uses it.
#include "precompiled.hpp"
