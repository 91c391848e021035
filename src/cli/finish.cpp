// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// finish: after the cutover has proved itself.
#include <filesystem>

#include "confirm.hpp"
#include "signals.hpp"
#include "text.hpp"
#include "walign/cutover.hpp"

namespace walign::cli {

namespace {

struct FinishOptions {
  bool archive = false;
  bool reopen = false;
  std::string keep_for;
  std::string name;
  bool yes = false;
};

constexpr int kMostDays = 36'500;

// 90d: a comment says a day, so nothing finer.
int parse_days(const std::string& text) {
  int days = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, days);
  if (error != std::errc() || std::string_view(rest, static_cast<std::size_t>(end - rest)) != "d" ||
      days < 1 || days > kMostDays) {
    throw Error(ErrorKind::usage, cat("--keep-for ", text, " is not a number of days"), "write it as 90d");
  }
  return days;
}

cutover::OldSide old_side(const FinishOptions& options) {
  if (options.archive) return cutover::OldSide::archived;
  return options.reopen ? cutover::OldSide::reopened : cutover::OldSide::closed;
}

std::string becomes(const cutover::FinishPlan::Table& table, cutover::OldSide old_side) {
  if (table.done) return "is so already";
  switch (old_side) {
    case cutover::OldSide::closed: return "refuses writes for good";
    case cutover::OldSide::archived:
      return cat("refuses writes for good, and is renamed to ", table.archive_name);
    case cutover::OldSide::reopened: return "takes writes again";
  }
  return "";
}

void print_list(std::ostream& out, const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) return;
  out << title << "\n";
  for (const auto& line : lines) out << "  " << printable(line) << "\n";
}

void print(const Context& context, const config::Config& config, const cutover::FinishPlan& plan,
           cutover::OldSide side) {
  auto& out = context.io.err;
  out << "This finishes migration " << config.migration << ": "
      << (plan.finished ? "it was finished before, and what is left of that is done.\n"
                        : "there is no way back.\n");
  out << "The old side, " << pg::describe_conninfo(config.source) << ":\n";
  Table table;
  bool partitioned = false;
  for (const auto& t : plan.tables) {
    table.add({printable(t.table.to_string()), printable(becomes(t, side)),
               printable(cat("moved to ", t.moved_to))});
    partitioned = partitioned || (t.partitioned && !t.done);
  }
  out << table.text(2);
  if (side == cutover::OldSide::archived) {
    out << "Sequences, indexes and constraints keep their names"
        << (partitioned ? ", and so do partitions, which refuse writes like their table.\n" : ".\n");
  }
  if (side == cutover::OldSide::reopened) {
    out << "What is written there from then on goes nowhere: both sides take writes, and drift apart.\n";
  }
  print_list(out, "Goes:", plan.goes);
  print_list(out, "Is lost with it:", plan.lost);
  print_list(out, "Stays:", plan.stays);
}

std::string closing_words(cutover::OldSide side) {
  switch (side) {
    case cutover::OldSide::closed:
      return "finished; the old tables refuse writes (walign_closed): drop them when they are not needed any "
             "more";
    case cutover::OldSide::archived: return "finished; the old tables are archived, and refuse writes";
    case cutover::OldSide::reopened: return "finished; the old tables take writes again";
  }
  return "";
}

int finish(Context& context, const FinishOptions& options) {
  cutover::Finish finish;
  finish.config = context.load();
  finish.old_side = old_side(options);
  if (!options.keep_for.empty()) finish.keep_days = parse_days(options.keep_for);
  const Signals signals;
  refuse_sidecar(finish.config);
  std::unique_ptr<state::Store> store;
  const auto hold = [&] {
    store = state::Store::open(finish.config.state, finish.config.migration);
    finish.store = store.get();
  };
  if (std::filesystem::exists(finish.config.state)) hold();
  finish.interrupt = &signals.interrupt();
  const auto plan = cutover::plan_finish(finish);
  if (plan.finished && plan.nothing_left()) {
    context.io.out << "migration " << finish.config.migration
                   << " is finished already, and nothing is left to do\n";
    return 0;
  }
  print(context, finish.config, plan, finish.old_side);
  confirm_name(context, finish.config, options.name, "nothing was done");
  if (!store) hold();
  cutover::finish(finish, [&](const std::string& line) { context.io.out << printable(line) << std::endl; });
  context.io.out << closing_words(finish.old_side) << "\n";
  return 0;
}

}  // namespace

void add_finish(CLI::App& parent, Context& context) {
  auto options = std::make_shared<FinishOptions>();
  CLI::App* command = add_command(
      parent, context, "finish",
      "After a cutover that has proved itself: remove what walign made, and leave the old side closed.",
      "walign finish                           the old tables refuse writes from then on\n"
      "  walign finish --archive --keep-for 90d  renamed too, with the date in a comment\n"
      "  walign finish --reopen                  the old tables take writes again",
      options, finish);
  auto* archive =
      command->add_flag("--archive", options->archive,
                        "rename the old tables to NAME_archived_YYYYMMDD; they refuse writes all the same");
  command
      ->add_option("--keep-for", options->keep_for,
                   "say in the archive's comment for how many days it is kept: 90d")
      ->type_name("DAYS")
      ->needs(archive);
  command->add_flag("--reopen", options->reopen, "let the old tables take writes again; nothing stays")
      ->excludes(archive);
  command->add_option("--name", options->name, "the migration's name, typed beforehand")->type_name("NAME");
  command->add_flag("--yes", options->yes, "does not stand for the name: that is asked for all the same");
}

}  // namespace walign::cli
