// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What the commands that take things away for ever share.
#pragma once

#include "command.hpp"
#include "walign/state.hpp"

namespace walign::cli {

// The migration's name must be typed, now or beforehand (--name); what it is about to be typed for has been printed.
// Error(usage) for any other: `nothing` says what was not done.
void confirm_name(const Context& context, const config::Config& config, const std::string& typed_beforehand,
                  const std::string& nothing);

// Error(precondition) while one runs. That none starts meanwhile is the state directory's business, which the caller
// holds.
void refuse_sidecar(const config::Config& config);

}  // namespace walign::cli
