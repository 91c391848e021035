// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Of which format something on disk is. Everything there says it: a state directory in its file `format`, a value in
// its first byte, a segment in the eighth. This program writes kFormat and reads all from kOldestFormat on; what an
// older one wrote is taken to kFormat while it is read, one step for each format in between. Fields that are added to a
// message are no new format: what lacks them is read as having none.
#pragma once

#include <span>

#include "walign/base.hpp"

namespace walign::state {

inline constexpr unsigned kOldestFormat = 1;

// Takes a payload to the next format. `what`: the full name of the message that it is; empty for plain text.
using UpgradeStep = std::string (*)(std::string_view what, std::string payload);

// kUpgradeSteps[i] leads from format kOldestFormat + i to the next. Format 1 is the only one so far.
inline constexpr std::array<UpgradeStep, 0> kUpgradeSteps = {};
inline constexpr unsigned kFormat = kOldestFormat + kUpgradeSteps.size();

// Throws Error(malformed), with what to do, where this program cannot read `format`. `subject`: "the record".
void require_known_format(unsigned format, std::string_view subject, unsigned newest = kFormat);

// The payload as kFormat has it; `format` is known.
std::string upgraded(std::string_view what, std::string payload, unsigned format,
                     std::span<const UpgradeStep> steps = kUpgradeSteps);

}  // namespace walign::state
