// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// pause and resume.
#include "command.hpp"
#include "walign/service.hpp"

namespace walign::cli {

namespace {

struct PauseOptions {
  std::string what;
};

int pause(Context& context, const PauseOptions& options) {
  const bool at_rest = service::ControlClient(context.load().state).pause(options.what);
  context.io.out
      << (options.what == "apply"
              ? "apply is paused: the slot keeps the source's WAL meanwhile (walign resume apply)\n"
              : "backfill is paused: no further chunk is begun, the stream goes on (walign resume "
                "backfill)\n");
  if (at_rest) return 0;
  context.io.out
      << "what was begun is still being written; it ends by itself: ask again to see that it has\n";
  return exit_status(ErrorKind::precondition);
}

int resume(Context& context, const PauseOptions& options) {
  service::ControlClient(context.load().state).resume(options.what);
  context.io.out << options.what << " goes on\n";
  return 0;
}

void add_what(CLI::App* command, const std::shared_ptr<PauseOptions>& options) {
  command->add_option("WHAT", options->what, "apply or backfill")
      ->required()
      ->type_name("")
      ->check(CLI::IsMember({"apply", "backfill"}));
}

}  // namespace

void add_pause(CLI::App& parent, Context& context) {
  auto options = std::make_shared<PauseOptions>();
  add_what(add_command(
               parent, context, "pause", "Hold apply or backfill of the running sidecar.",
               "walign pause apply       no change is written to the target until `walign resume apply`\n"
               "  walign pause backfill    no further chunk is begun until `walign resume backfill`\n"
               "Exit status: 0 nothing is being written any more; 3 it is held, and what was begun still is",
               options, pause),
           options);
}

void add_resume(CLI::App& parent, Context& context) {
  auto options = std::make_shared<PauseOptions>();
  add_what(add_command(parent, context, "resume", "Let apply or backfill of the running sidecar go on.",
                       "walign resume apply", options, resume),
           options);
}

}  // namespace walign::cli
