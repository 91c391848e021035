// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a command is: a function that adds itself to the command line and, when it is the one that was typed,
// leaves an action behind. Actions run after parsing, so that what they throw is not taken for a wrong option.
#pragma once

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "walign/cli.hpp"
#include "walign/config.hpp"
#include "walign/obs.hpp"

namespace walign::cli {

using Json = nlohmann::ordered_json;

struct Context {
  explicit Context(const Io& io_) : io(io_) {}

  Io io;
  std::string config_path = "walign.yaml";
  std::string log_level = "info";
  std::string log_format = "text";
  std::function<int()> action;

  [[nodiscard]] config::Config load() const;
  // The -c that commands in hints need to be the same ones; with a blank before it, empty for the default.
  [[nodiscard]] std::string config_option() const;
};

// An error with an exit status that no kind has.
class ErrorWithStatus : public Error {
 public:
  ErrorWithStatus(int status, std::string message, std::string hint)
      : Error(ErrorKind::in_doubt, std::move(message), std::move(hint)), status_(status) {}
  [[nodiscard]] int status() const { return status_; }

 private:
  int status_;
};

using AddCommand = void (*)(CLI::App& parent, Context& context);

void add_init(CLI::App& parent, Context& context);
void add_run(CLI::App& parent, Context& context);
void add_preflight(CLI::App& parent, Context& context);
void add_plan(CLI::App& parent, Context& context);
void add_verify(CLI::App& parent, Context& context);
void add_status(CLI::App& parent, Context& context);
void add_cutover(CLI::App& parent, Context& context);
void add_rollback(CLI::App& parent, Context& context);
void add_recover(CLI::App& parent, Context& context);
void add_checkpoints(CLI::App& parent, Context& context);
void add_schema(CLI::App& parent, Context& context);
void add_dead_letters(CLI::App& parent, Context& context);
void add_pause(CLI::App& parent, Context& context);
void add_resume(CLI::App& parent, Context& context);
void add_config(CLI::App& parent, Context& context);
void add_finish(CLI::App& parent, Context& context);
void add_remove(CLI::App& parent, Context& context);
void add_capture(CLI::App& parent, Context& context);
void add_rewind(CLI::App& parent, Context& context);
void add_replay(CLI::App& parent, Context& context);
void add_events(CLI::App& parent, Context& context);

// A command that does something; `options` are filled when `act` is called.
template <class Options>
CLI::App* add_command(CLI::App& parent, Context& context, const std::string& name,
                      const std::string& description, const std::string& example,
                      std::shared_ptr<Options> options, int (*act)(Context&, const Options&)) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->footer("Example:\n  " + example);
  command->callback([&context, options, act] {
    context.action = [&context, options, act] { return act(context, *options); };
  });
  return command;
}

// A command that only has commands below it.
CLI::App* add_group(CLI::App& parent, const std::string& name, const std::string& description,
                    const std::string& example);

// Pretty, with a newline; bytes that are not UTF-8 are replaced.
void print_json(const Context& context, const Json& json);

// Asks on err; true for y or yes. Error(usage) where nobody answers.
bool ask(const Context& context, const std::string& question);
// The line that is typed in answer; Error(usage) with the hint where nobody answers.
std::string ask_line(const Context& context, const std::string& question, const std::string& hint);

}  // namespace walign::cli
