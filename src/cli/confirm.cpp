// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "confirm.hpp"

#include "walign/service.hpp"

namespace walign::cli {

void confirm_name(const Context& context, const config::Config& config, const std::string& typed_beforehand,
                  const std::string& nothing) {
  const auto typed = !typed_beforehand.empty()
                         ? typed_beforehand
                         : ask_line(context, "Type the migration's name to go on: ",
                                    cat("--name ", config.migration, " says it beforehand; --yes does not"));
  if (typed == config.migration) return;
  throw Error(ErrorKind::usage, cat("\"", typed, "\" is not this migration's name; ", nothing),
              cat("it is ", config.migration, "; is this the right configuration?"));
}

void refuse_sidecar(const config::Config& config) {
  if (!service::ControlClient(config.state).sidecar_runs()) return;
  throw Error(ErrorKind::precondition, cat("the sidecar of migration ", config.migration, " is running"),
              "stop it first (Ctrl-C or SIGTERM to `walign run`)");
}

}  // namespace walign::cli
