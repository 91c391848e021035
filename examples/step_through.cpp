// Steps through a capture, transaction by transaction: what a test harness does with walign as a library.
//
//   step_through CAPTURE [LSN]       from the first transaction that ends above LSN
#include <filesystem>
#include <iostream>
#include <map>

#include "walign/source.hpp"

using namespace walign;

namespace {

// A large transaction comes in several parts; the last one is marked.
void count(const event::TransactionPart& part, std::map<std::string, int>& rows_by_table) {
  for (const auto& change : part.tx().changes()) {
    if (!change.has_new_row() && !change.has_old_row()) continue;
    ++rows_by_table[part.relations()[change.relation()]->name()];
  }
}

int step_through(source::ReplayOptions options) {
  const auto capture = source::open_capture(options);
  std::map<std::string, int> rows_by_table;
  while (!capture->ended()) {
    const auto item = capture->next(std::chrono::milliseconds(0));
    if (!item || !std::holds_alternative<event::TransactionPart>(*item)) continue;
    const auto& part = std::get<event::TransactionPart>(*item);
    count(part, rows_by_table);
    if (!part.last()) continue;
    std::cout << part.commit_lsn().to_string() << " transaction " << part.tx().xid();
    for (const auto& [table, rows] : rows_by_table) std::cout << ", " << rows << " rows of " << table;
    std::cout << '\n';
    rows_by_table.clear();
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::cerr << "usage: step_through CAPTURE [LSN]\n";
    return 2;
  }
  source::ReplayOptions options;
  options.directory = argv[1];
  if (argc > 2) options.from = Lsn::parse(argv[2]).value_or(Lsn());
  // What is too large for memory while it runs goes here.
  options.spill_directory = (std::filesystem::temp_directory_path() / "step_through").string();
  std::filesystem::create_directories(options.spill_directory);
  try {
    return step_through(options);
  } catch (const Error& error) {
    std::cerr << error.describe() << '\n';
    return 1;
  }
}
