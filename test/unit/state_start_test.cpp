// decide_start() as a transcript: test/data/state/start.txt says how to read and regenerate it.
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "support/catch.hpp"
#include "walign/state.hpp"

using namespace walign;
using namespace walign::state;

namespace {

using Words = std::map<std::string, std::string>;
using Facts = std::map<std::string, Words>;  // "config", "slot", "target", "store", "journal"

std::string get(const Words& words, const std::string& key, const std::string& otherwise) {
  const auto it = words.find(key);
  return it == words.end() ? otherwise : it->second;
}

Lsn get_lsn(const Words& words, const std::string& key) {
  const auto lsn = Lsn::parse(get(words, key, "0/0"));
  REQUIRE(lsn.has_value());
  return *lsn;
}

// Every word must mean something: a typing error would otherwise test another case.
void check_words(const Facts& facts) {
  const std::map<std::string, std::string> known = {
      {"config", " brought system timeline database slot mapping flushed target_system target_database "},
      {"slot", " confirmed plugin database wal_status temporary two_phase pid "},
      {"target", " position system timeline database slot mapping "},
      {"store", " durable empty system timeline database slot phase "},
      {"journal", " from to "}};
  for (const auto& [kind, words] : facts) {
    REQUIRE(known.count(kind) == 1);
    for (const auto& word : words) {
      INFO(kind << " " << word.first);
      REQUIRE(known.at(kind).find(" " + word.first + " ") != std::string::npos);
    }
  }
}

SlotFacts slot_of(const Words& words, const std::string& name) {
  SlotFacts slot;
  slot.name = name;
  slot.plugin = get(words, "plugin", "pgoutput");
  slot.database = get(words, "database", "app");
  slot.wal_status = get(words, "wal_status", "reserved");
  slot.confirmed_flush = get_lsn(words, "confirmed");
  slot.temporary = words.count("temporary") > 0;
  slot.two_phase = words.count("two_phase") > 0;
  slot.active_pid = std::stoi(get(words, "pid", "0"));
  return slot;
}

TargetFacts target_of(const Words& words) {
  TargetFacts target;
  target.position = get_lsn(words, "position");
  target.source_system_id = get(words, "system", "7001");
  target.source_timeline = static_cast<std::uint32_t>(std::stoul(get(words, "timeline", "1")));
  target.source_database = get(words, "database", "app");
  target.slot = get(words, "slot", "walign_x");
  target.mapping_hash = get(words, "mapping", "m1");
  return target;
}

StoreFacts store_of(const Words& words) {
  StoreFacts store;
  store.durable = get_lsn(words, "durable");
  store.phase = get(words, "phase", "streaming");
  if (words.count("empty") > 0) return store;
  store.identity.set_migration("x");
  store.identity.set_source_system_id(get(words, "system", "7001"));
  store.identity.set_source_timeline(static_cast<std::uint32_t>(std::stoul(get(words, "timeline", "1"))));
  store.identity.set_source_database(get(words, "database", "app"));
  store.identity.set_slot(get(words, "slot", "walign_x"));
  store.identity.set_target_system_id("8001");
  store.identity.set_target_database("new");
  store.identity.set_mapping_hash("m1");
  return store;
}

StartFacts facts_of(const Facts& given) {
  check_words(given);
  const auto config = given.count("config") > 0 ? given.at("config") : Words{};
  StartFacts facts;
  facts.source_system_id = get(config, "system", "7001");
  facts.source_timeline = static_cast<std::uint32_t>(std::stoul(get(config, "timeline", "1")));
  facts.source_database = get(config, "database", "app");
  facts.source_flushed = get_lsn(config, "flushed");
  facts.target_system_id = get(config, "target_system", "8001");
  facts.target_database = get(config, "target_database", "new");
  facts.mapping_hash = get(config, "mapping", "m1");
  facts.slot_name = get(config, "slot", "walign_x");
  facts.slot_is_brought = config.count("brought") > 0;
  if (given.count("slot") > 0) facts.slot = slot_of(given.at("slot"), facts.slot_name);
  if (given.count("target") > 0) facts.target = target_of(given.at("target"));
  if (given.count("store") > 0) facts.store = store_of(given.at("store"));
  if (given.count("journal") > 0) {
    const auto& journal = given.at("journal");
    facts.journal = JournalFacts{get_lsn(journal, "from"), get_lsn(journal, "to")};
  }
  return facts;
}

std::string print(const Start& start) {
  std::string out = "  -> ";
  switch (start.action) {
    case Start::Action::create: out += "create"; break;
    case Start::Action::recreate: out += "recreate"; break;
    case Start::Action::adopt: out += "adopt"; break;
    case Start::Action::resume: out += "resume"; break;
  }
  if (start.from.valid()) out += cat(" from ", start.from);
  if (start.stream_from > start.from) out += cat(", from the journal up to ", start.stream_from);
  if (start.stream_from < start.from && start.stream_from.valid()) {
    out += cat(", for the journal again since ", start.stream_from);
  }
  if (start.begin_journal) out += ", a new journal";
  if (start.rewound) out += ", forget later checkpoints";
  if (start.rebuild_store) out += ", rebuild the store";
  if (start.mapping_changed) out += ", mapping changed";
  if (!start.note.empty()) out += cat("\n     note: ", start.note);
  return out + "\n";
}

std::string print(const Error& error) {
  const char* kind = error.kind() == ErrorKind::precondition ? "refuse"
                     : error.kind() == ErrorKind::transient  ? "try again"
                                                             : "UNEXPECTED KIND";
  std::string out = cat("  -> ", kind, ": ", error.message());
  if (error.position().valid()) out += cat("\n     at: ", error.position());
  return out + cat("\n     hint: ", error.hint(), "\n");
}

std::string decide(const StartFacts& facts) {
  try {
    return print(decide_start(facts));
  } catch (const Error& error) {
    return print(error);
  }
}

struct Case {
  std::string text;      // title and facts, as in the file
  std::string expected;  // the lines from "->" on
  Facts facts;
  bool is_case = false;  // else a comment or a heading, copied as it is
};

bool is_outcome(const std::string& line) {
  return line.rfind("  -> ", 0) == 0 || line.rfind("     ", 0) == 0;
}

Words words_of(std::istringstream& in) {
  Words words;
  for (std::string word; in >> word;) {
    const auto equals = word.find('=');
    words[word.substr(0, equals)] = equals == std::string::npos ? "" : word.substr(equals + 1);
  }
  return words;
}

void add_line(Case& to, const std::string& line) {
  if (is_outcome(line)) {
    to.expected += line + "\n";
    return;
  }
  to.text += line + "\n";
  if (line[0] != ' ') {
    to.is_case = line[0] != '#' && line[0] != '=';
    return;
  }
  std::istringstream in(line);
  std::string kind;
  in >> kind;
  REQUIRE(to.facts.count(kind) == 0);
  to.facts[kind] = words_of(in);
}

// Blocks between empty lines.
std::vector<Case> read_cases(const std::string& path) {
  std::ifstream in(path);
  REQUIRE(in.good());
  std::vector<Case> cases(1);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) {
      add_line(cases.back(), line);
    } else if (!cases.back().text.empty()) {
      cases.emplace_back();
    }
  }
  if (cases.back().text.empty()) cases.pop_back();
  return cases;
}

void regenerate(const std::string& path, const std::vector<Case>& cases) {
  std::ofstream out(path);
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (i > 0) out << '\n';
    out << cases[i].text;
    if (cases[i].is_case) out << decide(facts_of(cases[i].facts));
  }
}

}  // namespace

TEST_CASE("every start is decided as its transcript says") {
  const std::string path = WALIGN_TEST_DATA "/state/start.txt";
  const auto cases = read_cases(path);
  if (std::getenv("WALIGN_REGENERATE") != nullptr) {
    regenerate(path, cases);
    return;
  }
  std::size_t count = 0;
  for (const auto& one : cases) {
    if (!one.is_case) continue;
    ++count;
    INFO(one.text);
    CHECK(decide(facts_of(one.facts)) == one.expected);
  }
  CHECK(count > 50);
}

namespace {

// What a decision promises must be true of the facts. Written from the invariants, not the code.
void check_promises(const StartFacts& facts) {
  const Lsn position = facts.target ? facts.target->position : Lsn();
  const Lsn durable = facts.store ? facts.store->durable : Lsn();
  try {
    const Start start = decide_start(facts);
    const bool in_journal = facts.journal && facts.journal->from <= position && position <= facts.journal->to;
    CHECK((durable <= position || in_journal));  // nothing that was durable may be missing
    CHECK(start.rewound == (durable > position));
    if (facts.slot && start.action != Start::Action::create) {
      CHECK(facts.slot->active_pid == 0);
      CHECK(facts.slot->plugin == "pgoutput");
    }
    switch (start.action) {
      case Start::Action::create:
        CHECK_FALSE(facts.slot.has_value());
        CHECK_FALSE(facts.slot_is_brought);
        CHECK_FALSE(position.valid());
        break;
      case Start::Action::recreate:
        CHECK(facts.slot.has_value());
        CHECK_FALSE(facts.slot_is_brought);
        CHECK(facts.target.has_value());
        CHECK_FALSE(position.valid());
        break;
      case Start::Action::adopt:
        CHECK(facts.slot_is_brought);
        CHECK_FALSE(position.valid());
        CHECK(start.from == facts.slot->confirmed_flush);
        CHECK(start.from.valid());
        break;
      case Start::Action::resume:
        CHECK(position.valid());
        CHECK(start.from == position);
        CHECK(facts.slot->confirmed_flush <= start.stream_from);
        CHECK(facts.slot->confirmed_flush.valid());
        if (start.stream_from > position) CHECK((in_journal && start.stream_from == facts.journal->to));
        // A journal that is gone on with gets all that comes behind its end.
        CHECK((start.begin_journal ? start.stream_from == position
                                   : facts.journal && start.stream_from <= facts.journal->to));
        CHECK(facts.slot->wal_status != "lost");
        CHECK(start.rebuild_store == (durable != position));
        CHECK(facts.source_timeline == facts.target->source_timeline);
        CHECK((!facts.source_flushed.valid() || position <= facts.source_flushed));
        break;
    }
  } catch (const Error& error) {
    CHECK((error.kind() == ErrorKind::precondition || error.kind() == ErrorKind::transient));
    CHECK_FALSE(error.hint().empty());
    if (error.kind() == ErrorKind::transient) CHECK(facts.slot->active_pid != 0);
  }
}

// 0: does not exist, then positions 0/0, 0/300, 0/400, 0/500.
constexpr int kPositions = 5;
std::string position_text(int i) {
  return Lsn(i < 2 ? 0 : 0x100U * static_cast<unsigned>(i + 1)).to_string();
}

// 0: empty, then from and to the positions above 0/0.
const std::vector<std::pair<std::string, std::string>> kJournals = {{"", ""},           {"0/300", "0/300"},
                                                                    {"0/300", "0/400"}, {"0/300", "0/500"},
                                                                    {"0/400", "0/500"}, {"0/500", "0/500"}};

Facts combination(int slot, int target, int store, std::size_t journal = 0) {
  Facts facts{{"config", {}}};
  if (journal > 0) facts["journal"] = {{"from", kJournals[journal].first}, {"to", kJournals[journal].second}};
  if (slot > 0) facts["slot"] = {{"confirmed", position_text(slot)}};
  if (target > 0) facts["target"] = {{"position", position_text(target)}};
  if (store > 0) facts["store"] = {{"durable", position_text(store)}};
  return facts;
}

}  // namespace

TEST_CASE("whatever the facts, a start goes on only where nothing can be missing") {
  const std::vector<std::pair<std::string, std::pair<std::string, std::string>>> twists = {
      {"", {}},
      {"slot", {"pid", "9"}},
      {"slot", {"wal_status", "lost"}},
      {"slot", {"plugin", "wal2json"}},
      {"config", {"timeline", "2"}},
      {"config", {"flushed", "0/400"}}};
  for (int i = 0; i < kPositions * kPositions * kPositions * 2; ++i) {
    for (const auto& [kind, word] : twists) {
      const int slot = i / 2 % kPositions;
      if (kind == "slot" && slot == 0) continue;
      for (std::size_t journal = 0; journal < kJournals.size(); ++journal) {
        auto facts =
            combination(slot, i / 2 / kPositions % kPositions, i / 2 / kPositions / kPositions, journal);
        if (i % 2 == 1) facts["config"]["brought"] = "";
        if (!kind.empty()) facts[kind].insert(word);
        INFO("combination " << i << " " << kind << " " << word.first << ", journal " << journal);
        check_promises(facts_of(facts));
      }
    }
  }
}

TEST_CASE("a start that may be tried again is told apart from one that may not") {
  auto facts = facts_of(combination(4, 4, 4));
  facts.slot->active_pid = 9;
  try {
    decide_start(facts);
    FAIL("a slot that is being read was taken");
  } catch (const Error& error) {
    CHECK(remedy(error.kind()) == Remedy::retry);
  }
  facts.slot->wal_status = "lost";
  try {
    decide_start(facts);
    FAIL("a lost slot was taken");
  } catch (const Error& error) {
    CHECK(remedy(error.kind()) == Remedy::stop);
  }
}
