// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// checkpoints list | show.
#include "command.hpp"
#include "text.hpp"
#include "walign/journal.hpp"
#include "walign/service.hpp"
#include "walign/state.hpp"

namespace walign::cli {

namespace {

struct ListOptions {
  std::size_t limit = 20;
  bool json = false;
};
struct ShowOptions {
  std::string lsn;
  bool json = false;
};

Json time_json(std::int64_t micros) { return micros == 0 ? Json() : Json(service::iso_time(micros)); }
std::string time_text(std::int64_t micros) { return micros == 0 ? "-" : service::iso_time(micros); }

Json books_json(const v1::TableBooks& books) {
  return {{"table", books.table()},     {"decoded", books.decoded()},
          {"applied", books.applied()}, {"filtered", books.filtered()},
          {"dropped", books.dropped()}, {"dead_letters", books.dead_letters()}};
}

// `reach`: of the journal. From a position that it has, a target can be caught up.
Json checkpoint_json(const v1::Checkpoint& c, const state::JournalReach& reach) {
  Json books = Json::array();
  for (const auto& table : c.books()) books.push_back(books_json(table));
  return {{"durable_lsn", Lsn(c.durable_lsn()).to_string()},
          {"saved_at", time_json(c.saved_at_us())},
          {"commit_time", time_json(c.commit_time_us())},
          {"phase", c.phase()},
          {"epoch", c.epoch()},
          {"transactions", c.transactions()},
          {"in_journal", reach.has(Lsn(c.durable_lsn()))},
          {"books", books}};
}

const char* in_journal(const v1::Checkpoint& c, const state::JournalReach& reach) {
  return reach.has(Lsn(c.durable_lsn())) ? "yes" : "-";
}

std::string reach_text(const state::JournalReach& reach) {
  if (!reach.from.valid()) return "the journal is empty\n";
  return cat("the journal goes from ", reach.from, " to ", reach.to, ", ",
             bytes_text(static_cast<std::int64_t>(reach.bytes)), "\n");
}

int list(Context& context, const ListOptions& options) {
  const auto directory = context.load().state;
  const auto checkpoints = state::Store::open_read_only(directory)->checkpoints(options.limit);
  const auto reach = state::journal_reach(directory);
  if (options.json) {
    Json out = Json::array();
    for (const auto& c : checkpoints) out.push_back(checkpoint_json(c, reach));
    print_json(context, out);
    return 0;
  }
  Table table({"durable", "saved at", "last commit", "phase", "epoch", "transactions", "in journal"});
  table.right({4, 5});
  for (const auto& c : checkpoints) {
    table.add({Lsn(c.durable_lsn()).to_string(), time_text(c.saved_at_us()), time_text(c.commit_time_us()),
               c.phase(), cat(c.epoch()), cat(c.transactions()), in_journal(c, reach)});
  }
  context.io.out << (checkpoints.empty() ? "no checkpoints yet\n" : cat(table.text(), reach_text(reach)));
  return 0;
}

std::string checkpoint_text(const v1::Checkpoint& c, const state::JournalReach& reach) {
  Table facts;
  facts.add({"durable", Lsn(c.durable_lsn()).to_string()});
  facts.add({"saved at", time_text(c.saved_at_us())});
  facts.add({"last commit", time_text(c.commit_time_us())});
  facts.add({"phase", c.phase()});
  facts.add({"epoch", cat(c.epoch())});
  facts.add({"transactions", cat(c.transactions())});
  facts.add({"in journal", in_journal(c, reach)});
  Table books({"table", "decoded", "applied", "filtered", "dropped", "dead letters"});
  books.right({1, 2, 3, 4, 5});
  for (const auto& b : c.books()) {
    books.add({b.table(), cat(b.decoded()), cat(b.applied()), cat(b.filtered()), cat(b.dropped()),
               cat(b.dead_letters())});
  }
  return cat(facts.text(), c.books().empty() ? "" : cat("\n", books.text()));
}

int show(Context& context, const ShowOptions& options) {
  const Lsn lsn = parse_lsn(options.lsn);
  const auto directory = context.load().state;
  const auto checkpoint = state::Store::open_read_only(directory)->checkpoint(lsn);
  const auto reach = state::journal_reach(directory);
  if (!checkpoint) {
    throw Error(ErrorKind::precondition, cat("there is no checkpoint at ", lsn),
                "walign checkpoints list has them");
  }
  if (options.json) {
    print_json(context, checkpoint_json(*checkpoint, reach));
  } else {
    context.io.out << checkpoint_text(*checkpoint, reach);
  }
  return 0;
}

}  // namespace

void add_checkpoints(CLI::App& parent, Context& context) {
  CLI::App* group = add_group(parent, "checkpoints",
                              "Saved positions, with time, phase, books, and whether the journal has them.",
                              "walign checkpoints list --limit 5");
  auto list_options = std::make_shared<ListOptions>();
  CLI::App* command = add_command(*group, context, "list", "Saved positions, the newest first.",
                                  "walign checkpoints list --limit 5", list_options, list);
  command->add_option("--limit", list_options->limit, "at most so many")
      ->type_name("N")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->add_flag("--json", list_options->json, "as a JSON array");
  auto show_options = std::make_shared<ShowOptions>();
  command = add_command(*group, context, "show", "One of them, with the books of each table.",
                        "walign checkpoints show 16/B374D848", show_options, show);
  command->add_option("LSN", show_options->lsn, "its durable position")->required()->type_name("");
  command->add_flag("--json", show_options->json, "as JSON");
}

}  // namespace walign::cli
