// The protocol's tables as transcripts that a human reads: test/scenario/cutover/*.txt. WALIGN_REGENERATE=1
// unit_cutover writes them anew, and then fails, saying so: read the difference before keeping it.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "cutover/protocol.hpp"
#include "support/catch.hpp"
#include "walign/cutover.hpp"

using namespace walign;
using namespace walign::cutover;

namespace {

void check_transcript(const std::string& name, const std::string& actual) {
  const std::string path = cat(WALIGN_TEST_DATA, "/../scenario/cutover/", name);
  std::ifstream file(path);
  std::ostringstream expected;
  expected << file.rdbuf();
  if (expected.str() == actual) {
    SUCCEED();
    return;
  }
  if (std::getenv("WALIGN_REGENERATE") != nullptr) {
    std::ofstream(path) << actual;
    FAIL(path << " was written anew: read the difference");
  }
  INFO("it says now\n" << actual);
  FAIL(path << " says something else (WALIGN_REGENERATE=1 writes it anew)");
}

std::string text(const RowKey& row) { return cat('(', row.epoch, ' ', name(row.state), ')'); }
std::string text(const Rows& rows) {
  return cat("source ", text(rows.source), ", target ", text(rows.target));
}

std::string text(const Action& action) {
  struct {
    std::string operator()(const act::ReadRow& a) const { return cat("read the ", name(a.side), "'s row"); }
    std::string operator()(const act::Stream& a) const { return cat("stream from the ", name(a.giver)); }
    std::string operator()(const act::WriteRow& a) const {
      return cat(name(a.step), ": the ", name(a.side), "'s row ", text(a.finds), " -> ", text(a.writes));
    }
    std::string operator()(const act::FenceTable& a) const {
      return cat("tables: table ", a.table + 1, " of the ", name(a.side), ", its row (", a.epoch, " FENCING)",
                 a.last ? cat(" -> (", a.epoch, " FENCED), and the marker") : "");
    }
    std::string operator()(const act::Hold& a) const {
      return cat("hold: lock the ", name(a.side), "'s row ", text(a.finds));
    }
    std::string operator()(const act::Work& a) const { return name(a.step); }
    std::string operator()(const act::OpenAlone& a) const {
      return cat("open alone: the ", name(a.side), "'s row ", text(a.finds), " -> ", text(a.writes));
    }
    std::string operator()(const act::Rest& a) const {
      return cat("nothing: the ", name(a.side), " is open, alone");
    }
    std::string operator()(const act::Stop& a) const { return cat("stop: ", name(a.why)); }
  } visitor;
  return std::visit(visitor, action);
}

// Reads both rows until they are believed.
Phase looked(Phase phase, const Rows& rows, bool in_time) {
  while (std::holds_alternative<phase::Looking>(phase)) {
    const auto read = std::get<act::ReadRow>(action(phase));
    phase = step(phase, fact::RowIs{rows.at(read.side), false, in_time});
  }
  return phase;
}

// What an action leaves in the rows, if it is done.
Rows after(Rows rows, const Action& action) {
  if (const auto* a = std::get_if<act::WriteRow>(&action)) rows.at(a->side) = a->writes;
  if (const auto* a = std::get_if<act::FenceTable>(&action)) {
    if (a->last) rows.at(a->side) = {a->epoch, RowState::fenced};
  }
  return rows;
}

bool changes_something(const Action& action) {
  return std::holds_alternative<act::WriteRow>(action) || std::holds_alternative<act::FenceTable>(action);
}

// Every fact that can come of this action.
std::vector<std::pair<const char*, Fact>> facts_of(const Phase& phase) {
  std::vector<std::pair<const char*, Fact>> out{
      {"done", fact::Done{}}, {"refused", fact::Refused{}}, {"no answer", fact::NoAnswer{}}};
  const auto* trying = std::get_if<phase::Trying>(&phase);
  const Step at = trying != nullptr ? trying->step : Step::tables;
  if (row_of(kSteps, at).given_up.kind != Then::Kind::impossible)
    out.push_back({"given up", fact::GivenUp{}});
  return out;
}

void write_step(std::ostream& out, const Phase& phase, const Rows& rows) {
  const Action now = action(phase);
  out << text(now) << '\n';
  for (const auto& [what, fact] : facts_of(phase)) {
    out << "  " << what << ": " << text(action(step(phase, fact))) << '\n';
  }
  const auto crash = [&](const char* when, const Rows& left) {
    out << "  dies " << when << ", rows " << text(left) << '\n';
    const std::string in_time = text(action(looked(phase::Looking{}, left, true)));
    const std::string late = text(action(looked(phase::Looking{}, left, false)));
    out << "    started again: " << in_time << (in_time == late ? "" : "; or, out of time: " + late) << '\n';
  };
  crash("before", rows);
  if (changes_something(now)) crash("right after", after(rows, now));
}

// From rest through a whole attempt, every answer "done"; and at each step what else may come of it.
std::string way(Side giver, const Rows& start) {
  std::ostringstream out;
  Rows rows = start;
  Phase phase = looked(phase::Looking{}, rows, true);
  out << "at rest, rows " << text(rows) << '\n' << text(action(phase)) << "\n\n";
  if (!std::holds_alternative<phase::Streaming>(phase)) phase = step(phase, fact::Done{});  // the switch hook
  phase = step(phase, fact::Asked{giver, 2});
  while (!std::holds_alternative<phase::Streaming>(phase)) {
    write_step(out, phase, rows);
    rows = after(rows, action(phase));
    phase = step(phase, fact::Done{});
    out << '\n';
  }
  out << "at rest, rows " << text(rows) << '\n' << text(action(phase)) << '\n';
  return out.str();
}

// Backing out, from each state of the giver in which it is possible.
std::string way_back(Side giver) {
  std::ostringstream out;
  for (const RowState state : {RowState::fencing, RowState::fenced, RowState::sealed}) {
    Rows rows;
    rows.at(giver) = {3, state};
    rows.at(other(giver)) = {3, RowState::closed};
    out << "== out of time, rows " << text(rows) << "\n\n";
    Phase phase = looked(phase::Looking{}, rows, false);
    while (!std::holds_alternative<phase::Streaming>(phase)) {
      write_step(out, phase, rows);
      rows = after(rows, action(phase));
      phase = step(phase, fact::Done{});
      out << '\n';
    }
    out << text(action(phase)) << "\n\n";
  }
  return out.str();
}

constexpr RowState kRowStates[] = {RowState::open,   RowState::fencing, RowState::fenced,
                                   RowState::sealed, RowState::closed,  RowState::aborted};
constexpr std::pair<int, int> kEpochs[] = {{2, 2}, {2, 3}, {3, 2}};

}  // namespace

TEST_CASE("a cutover, step by step, with every answer and a crash before and after each step") {
  check_transcript("cutover.txt", way(Side::source, {{0, RowState::open}, {0, RowState::closed}}));
}

TEST_CASE("a rollback, step by step, with every answer and a crash before and after each step") {
  check_transcript("rollback.txt", way(Side::target, {{1, RowState::sealed}, {1, RowState::open}}));
}

TEST_CASE("a second cutover after one that was aborted has an epoch of its own") {
  check_transcript("second_cutover.txt", way(Side::source, {{4, RowState::open}, {4, RowState::aborted}}));
}

TEST_CASE("backing out aborts the taker first, whichever side gives") {
  check_transcript("back_out_of_cutover.txt", way_back(Side::source));
  check_transcript("back_out_of_rollback.txt", way_back(Side::target));
}

TEST_CASE("what follows from every pair of rows after a restart") {
  std::ostringstream out;
  for (const RowState source : kRowStates) {
    for (const RowState target : kRowStates) {
      for (const auto& [a, b] : kEpochs) {
        const Rows rows{{static_cast<std::uint64_t>(a), source}, {static_cast<std::uint64_t>(b), target}};
        const auto in_time = text(action(looked(phase::Looking{}, rows, true)));
        const auto late = text(action(looked(phase::Looking{}, rows, false)));
        out << text(rows) << ": " << in_time << (in_time == late ? "" : "; out of time: " + late) << '\n';
      }
    }
  }
  check_transcript("restart.txt", out.str());
}

TEST_CASE("when the other server is gone for ever, a human opens the one that is left, in a higher epoch") {
  std::ostringstream out;
  for (const Side left : {Side::source, Side::target}) {
    for (const RowState state : kRowStates) {
      Phase phase = step(phase::Looking{}, fact::GivenUp{});
      out << text(action(phase)) << "; a human: the " << name(other(left)) << " is gone for ever\n";
      phase = step(phase, fact::HumanSays{other(left)});
      out << "  " << text(action(phase)) << ": (3 " << name(state) << ")\n";
      phase = step(phase, fact::RowIs{{3, state}, false, true});
      out << "  " << text(action(phase)) << '\n';
      if (std::holds_alternative<phase::AloneOpen>(phase)) {
        out << "    done: " << text(action(step(phase, fact::Done{}))) << '\n';
        out << "    refused: " << text(action(step(phase, fact::Refused{}))) << '\n';
        out << "    no answer: " << text(action(step(phase, fact::NoAnswer{}))) << '\n';
      }
    }
  }
  check_transcript("alone.txt", out.str());
}

TEST_CASE("the phases of a migration, each with every fact") {
  std::ostringstream out;
  for (int p = 0; p < 8; ++p) {
    const auto phase = static_cast<MigrationPhase>(p);
    CHECK(parse_phase(name(phase)) == phase);
    out << name(phase) << '\n';
    for (int f = 0; f < 8; ++f) {
      const auto fact = static_cast<MigrationFact>(f);
      const auto next = next_phase(phase, fact);
      out << "  " << name(fact) << ": " << (next ? name(*next) : "refused") << '\n';
    }
  }
  CHECK(!parse_phase("nothing"));
  check_transcript("phases.txt", out.str());
}
