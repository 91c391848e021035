// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/export.hpp"

#include <filesystem>

#include "recorder.hpp"

namespace walign::source {

namespace {

class Message {
 public:
  explicit Message(char tag) : bytes_(1, tag) {}
  template <class U>
  Message& integer(U value) {
    for (int shift = 8 * static_cast<int>(sizeof(U)) - 8; shift >= 0; shift -= 8) {
      bytes_ += static_cast<char>(static_cast<std::uint8_t>(value >> static_cast<unsigned>(shift)));
    }
    return *this;
  }
  Message& u8(std::uint8_t value) { return integer(value); }
  Message& u16(std::uint16_t value) { return integer(value); }
  Message& u32(std::uint32_t value) { return integer(value); }
  Message& u64(std::uint64_t value) { return integer(value); }
  Message& time(std::int64_t unix_us) {
    return integer(static_cast<std::uint64_t>(unix_us - decode::kPostgresEpochMicros));
  }
  Message& cstring(std::string_view text) {
    bytes_ += text;
    bytes_ += '\0';
    return *this;
  }
  Message& counted(std::string_view text) {
    u32(static_cast<std::uint32_t>(text.size()));
    bytes_ += text;
    return *this;
  }
  Message& row(char kind, const v1::Tuple& tuple) {
    bytes_ += kind;
    u16(static_cast<std::uint16_t>(tuple.lengths_size()));
    event::for_each_value(tuple, [this](int /*column*/, const event::Value& value) {
      switch (value.state) {
        case event::State::null:
        case event::State::not_sent: bytes_ += 'n'; break;
        case event::State::unchanged_toast: bytes_ += 'u'; break;
        case event::State::value:
          bytes_ += value.binary ? 'b' : 't';
          counted(value.bytes);
          break;
      }
    });
    return *this;
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

char identity_of(v1::ReplicaIdentity identity) {
  switch (identity) {
    case v1::REPLICA_IDENTITY_NOTHING: return 'n';
    case v1::REPLICA_IDENTITY_FULL: return 'f';
    case v1::REPLICA_IDENTITY_INDEX: return 'i';
    default: return 'd';
  }
}

std::string relation_message(const v1::Relation& relation) {
  Message message('R');
  message.u32(relation.oid()).cstring(relation.schema()).cstring(relation.name());
  message.u8(static_cast<std::uint8_t>(identity_of(relation.replica_identity())));
  message.u16(static_cast<std::uint16_t>(relation.columns_size()));
  for (const auto& column : relation.columns()) {
    message.u8(column.part_of_identity() ? 1 : 0).cstring(column.name()).u32(column.type_oid());
    message.u32(static_cast<std::uint32_t>(column.type_modifier()));
  }
  return message.take();
}

std::string row_message(const v1::Change& change, std::uint32_t oid) {
  const char old_kind = change.old_row_is_key() ? 'K' : 'O';
  Message message(change.kind() == v1::Change::INSERT   ? 'I'
                  : change.kind() == v1::Change::UPDATE ? 'U'
                                                        : 'D');
  message.u32(oid);
  if (change.has_old_row()) message.row(old_kind, change.old_row());
  if (change.has_new_row()) message.row('N', change.new_row());
  return message.take();
}

}  // namespace

void MessageMaker::describe(const event::RelationPtr& relation, std::vector<std::string>& out) {
  auto& sent = relations_[relation->oid()];
  if (sent == relation) return;
  for (const auto& column : relation->columns()) {
    if (column.type_name().empty()) continue;
    const std::pair<std::string, std::string> name(column.type_schema(), column.type_name());
    auto& known = types_[column.type_oid()];
    if (known == name) continue;
    known = name;
    out.push_back(Message('Y').u32(column.type_oid()).cstring(name.first).cstring(name.second).take());
  }
  out.push_back(relation_message(*relation));
  sent = relation;
}

void MessageMaker::change(const event::TransactionPart& part, const v1::Change& change,
                          std::vector<std::string>& out) {
  const auto& relations = part.relations();
  if (change.kind() == v1::Change::MESSAGE) {
    const auto& its = change.message();
    out.push_back(Message('M').u8(1).u64(its.lsn()).cstring(its.prefix()).counted(its.content()).take());
    return;
  }
  if (change.kind() == v1::Change::TRUNCATE) {
    const auto& its = change.truncate();
    for (const auto index : its.relations()) describe(relations.at(index), out);
    Message message('T');
    message.u32(static_cast<std::uint32_t>(its.relations_size()));
    message.u8(static_cast<std::uint8_t>((its.cascade() ? 1 : 0) | (its.restart_identity() ? 2 : 0)));
    for (const auto index : its.relations()) message.u32(relations.at(index)->oid());
    out.push_back(message.take());
    return;
  }
  const auto& relation = relations.at(change.relation());
  describe(relation, out);
  out.push_back(row_message(change, relation->oid()));
}

std::vector<std::string> MessageMaker::make(const event::TransactionPart& part) {
  std::vector<std::string> out;
  const auto& tx = part.tx();
  if (part.first()) {
    out.push_back(Message('B').u64(tx.commit_lsn()).time(tx.commit_time_us()).u32(tx.xid()).take());
    if (!tx.origin().empty()) out.push_back(Message('O').u64(tx.origin_lsn()).cstring(tx.origin()).take());
  }
  for (const auto& one : tx.changes()) change(part, one, out);
  if (part.last()) {
    out.push_back(Message('C').u8(0).u64(tx.commit_lsn()).u64(tx.end_lsn()).time(tx.commit_time_us()).take());
  }
  return out;
}

namespace {

class Export {
 public:
  explicit Export(const ExportOptions& options)
      : options_(options), journal_(open_journal(options.state_directory, options.from)) {
    std::error_code error;
    if (std::filesystem::exists(options.directory, error) &&
        !std::filesystem::is_empty(options.directory, error)) {
      throw Error(ErrorKind::precondition, cat("directory ", options.directory, " is not empty"),
                  "name an empty directory, or one that is not there yet");
    }
    auto origin = options.origin;
    origin.set_protocol_version(1);
    origin.set_parallel(false);
    writer_ = state::CaptureWriter::open(options.directory, origin, options.from, options.segment_bytes,
                                         [](const std::string&) {});
    recorder_.passed(options.from);
  }

  CaptureProgress run() {
    while (auto item = journal_->next(std::chrono::milliseconds(0))) {
      options_.stop->throw_if_raised();
      if (const auto* progress = std::get_if<Progress>(&*item)) {
        passed(progress->lsn);
        continue;
      }
      const auto& part = std::get<event::TransactionPart>(*item);
      if (options_.until.valid() && part.first() && part.commit_lsn() >= options_.until) {
        passed(part.commit_lsn());
        break;
      }
      for (auto& message : maker_.make(part)) add(std::move(message), part.tx());
    }
    writer_->sync();
    done_.position = recorder_.position();
    done_.transactions = recorder_.transactions();
    return done_;
  }

 private:
  void add(std::string message, const v1::Transaction& tx) {
    if (recorder_.between() && writer_->full()) next_segment();
    recorder_.take(as_bytes(message), writer_->segment());
    ++done_.frames;
    done_.bytes += message.size();
    v1::CaptureFrame frame;
    frame.set_wal_end(tx.commit_lsn());
    frame.set_server_time_us(tx.commit_time_us());
    frame.set_payload(std::move(message));
    writer_->add(std::move(frame));
  }

  // Everything that committed below it is there.
  void passed(Lsn position) {
    if (position <= recorder_.position()) return;
    recorder_.passed(position);
    v1::CaptureFrame frame;
    frame.set_wal_end(position.value);
    frame.set_keepalive(true);
    writer_->add(std::move(frame));
  }

  void next_segment() {
    std::vector<v1::CaptureFrame> descriptions;
    for (const auto& text : recorder_.descriptions()) descriptions.emplace_back().set_payload(text);
    writer_->next_segment(recorder_.position(), writer_->segment() + 1, std::move(descriptions));
  }

  const ExportOptions& options_;
  std::unique_ptr<Source> journal_;
  std::unique_ptr<state::CaptureWriter> writer_;
  Recorder recorder_;
  MessageMaker maker_;
  CaptureProgress done_;
};

}  // namespace

CaptureProgress export_journal(const ExportOptions& options) {
  WALIGN_CHECK(options.stop != nullptr);
  return Export(options).run();
}

}  // namespace walign::source
