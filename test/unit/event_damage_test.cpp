// Recorded messages with bits turned over, decoded and put through an Assembler that knows what came
// before.
#include "support/catch.hpp"
#include "support/frames.hpp"
#include "walign/event.hpp"

using namespace walign;

namespace {

// What an Assembler must have seen to take the message at hand: all descriptions, and the open BEGIN.
struct Before {
  std::vector<decode::Message> descriptions;
  std::optional<decode::Message> begin;

  void add(decode::Message message) {
    if (std::holds_alternative<decode::Begin>(message)) {
      begin = std::move(message);
    } else if (std::holds_alternative<decode::Commit>(message)) {
      begin.reset();
    } else if (std::holds_alternative<decode::Relation>(message) ||
               std::holds_alternative<decode::Type>(message)) {
      descriptions.push_back(std::move(message));
    }
  }
};

// Whether every row of a stored transaction is well formed, and as wide as its relation says.
bool walk(const v1::Transaction& tx) {
  for (const v1::Change& change : tx.changes()) {
    for (const v1::Tuple* row : {&change.new_row(), &change.old_row()}) {
      event::validate(*row);
      std::size_t bytes = 0;
      event::for_each_value(*row, [&](int, const event::Value& value) { bytes += value.bytes.size(); });
      if (bytes != row->values().size()) return false;
    }
    const bool has_rows = change.has_new_row() || change.has_old_row();
    const int columns = has_rows ? tx.relations(static_cast<int>(change.relation())).columns_size() : 0;
    if (change.has_new_row() && change.new_row().lengths_size() != columns) return false;
    if (change.has_old_row() && change.old_row().lengths_size() != columns) return false;
  }
  return true;
}

enum class Outcome { undecoded, refused, taken, wrong };

// An Assembler that has seen what came before; made anew after whatever may have changed what it knows.
class Damaged {
 public:
  explicit Damaged(const Before& before) : before_(before) {}

  Outcome outcome(const std::string& bytes) {
    std::optional<decode::Message> message;
    try {
      message = decode::decode(as_bytes(bytes));
    } catch (const Error&) {
      return Outcome::undecoded;
    }
    if (!assembler_) prime();
    try {
      const Outcome outcome = take(*message);
      if (!is_change(*message)) assembler_.reset();
      return outcome;
    } catch (const Error& error) {
      assembler_.reset();
      const bool told = error.kind() == ErrorKind::malformed && !error.hint().empty();
      return told ? Outcome::refused : Outcome::wrong;
    }
  }

 private:
  void prime() {
    assembler_.emplace(std::size_t{1});  // every change gives a part
    for (const decode::Message& earlier : before_.descriptions) assembler_->take(earlier);
    if (before_.begin) assembler_->take(*before_.begin);
  }
  Outcome take(const decode::Message& message) {
    auto taken = assembler_->take(message);
    auto* part = std::get_if<event::TransactionPart>(&taken);
    if (part == nullptr) return Outcome::taken;
    part->make_self_contained();
    v1::Transaction read;
    if (!read.ParseFromString(part->tx().SerializeAsString())) return Outcome::wrong;
    return walk(read) ? Outcome::taken : Outcome::wrong;
  }
  static bool is_change(const decode::Message& message) {
    return std::holds_alternative<decode::Insert>(message) ||
           std::holds_alternative<decode::Update>(message) ||
           std::holds_alternative<decode::Delete>(message) ||
           std::holds_alternative<decode::Truncate>(message) ||
           std::holds_alternative<decode::LogicalMessage>(message);
  }

  const Before& before_;
  std::optional<event::Assembler> assembler_;
};

}  // namespace

TEST_CASE("a damaged message is refused or becomes an event that can be stored and read") {
  std::size_t counts[4] = {};
  for (const std::string& name : frames::recordings()) {
    const auto recording = frames::read(name);  // the messages in `before` borrow from it
    Before before;
    for (const frames::Frame& frame : recording) {
      std::string bytes = frame.payload;
      Damaged damaged(before);
      CHECK(damaged.outcome(bytes) == Outcome::taken);
      for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
        const char was = bytes[bit / 8];
        bytes[bit / 8] = static_cast<char>(was ^ (1 << (bit % 8)));
        ++counts[static_cast<int>(damaged.outcome(bytes))];
        bytes[bit / 8] = was;
      }
      before.add(decode::decode(as_bytes(frame.payload)));
    }
  }
  CHECK(counts[static_cast<int>(Outcome::wrong)] == 0);
  CHECK(counts[static_cast<int>(Outcome::undecoded)] > 1000);
  CHECK(counts[static_cast<int>(Outcome::refused)] > 1000);
  CHECK(counts[static_cast<int>(Outcome::taken)] > 1000);
}
