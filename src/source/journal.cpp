// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Transactions into the journal, and out of it.
#include <map>

#include "walign/source.hpp"

namespace walign::source {

std::uint32_t JournalWriter::number(const event::RelationPtr& relation) {
  if (std::exchange(numbering_, journal_.numbering()) != journal_.numbering()) numbers_.clear();
  auto [at, is_new] = numbers_.try_emplace(relation);
  if (is_new) at->second = journal_.relation(relation->SerializeAsString());
  return at->second;
}

void JournalWriter::add(const event::TransactionPart& part) {
  if (part.first()) {
    skipping_ = part.commit_lsn() < journal_.reach().to;
    if (!skipping_) journal_.between();
  }
  if (skipping_) return;
  const auto& tx = part.tx();
  v1::JournalPart out;
  out.set_commit_lsn(tx.commit_lsn());
  out.set_end_lsn(tx.end_lsn());
  out.set_commit_time_us(tx.commit_time_us());
  out.set_part(tx.part());
  out.set_last(tx.last());
  out.set_memory_bytes(part.memory_bytes());
  for (const auto& relation : part.relations()) out.add_relations(number(relation));
  // Its descriptions are beside it.
  WALIGN_CHECK(tx.relations().empty());
  tx.SerializeToString(out.mutable_transaction());
  journal_.add(std::move(out));
}

namespace {

class JournalSource final : public Source {
 public:
  JournalSource(const std::string& directory, Lsn from) : reader_(directory, from), received_(from) {}

  std::optional<Item> next(std::chrono::milliseconds /*timeout*/) override {
    if (const auto* part = reader_.next()) {
      if (part->last()) received_ = Lsn(part->end_lsn());
      return read(*part);
    }
    if (std::exchange(ended_, true)) return std::nullopt;
    received_ = reader_.reach().to;
    return Progress{received_};
  }
  void acknowledge(Lsn durable) override { acknowledged_ = std::max(acknowledged_, durable); }
  void settle() override {}
  [[nodiscard]] Lsn received() const override { return received_; }
  [[nodiscard]] Lsn acknowledged() const override { return acknowledged_; }
  [[nodiscard]] bool ended() const override { return ended_; }

 private:
  event::TransactionPart read(const v1::JournalPart& from) {
    event::TransactionPart part;
    if (!part.mutable_tx().ParseFromString(from.transaction())) unreadable(from);
    if (std::exchange(segment_, reader_.segment()) != reader_.segment()) numbers_.clear();
    for (const auto number : from.relations()) part.add_relation(described(number, from));
    check(part, from);
    part.set_memory_bytes(from.memory_bytes());
    return part;
  }

  event::RelationPtr described(std::uint32_t number, const v1::JournalPart& from) {
    auto [at, is_new] = numbers_.try_emplace(number);
    if (!is_new) return at->second;
    const auto& description = reader_.relation(number);
    auto [known, is_first] = known_.try_emplace(description);
    if (is_first) {
      auto relation = std::make_shared<v1::Relation>();
      if (!relation->ParseFromString(description)) unreadable(from);
      known->second = std::move(relation);
    }
    return at->second = known->second;
  }

  // What comes after this takes parts for what the assembler made.
  static void check(const event::TransactionPart& part, const v1::JournalPart& from) {
    const auto tables = part.relations().size();
    const auto& tx = part.tx();
    if (tx.commit_lsn() != from.commit_lsn() || tx.part() != from.part() || tx.last() != from.last()) {
      unreadable(from);
    }
    const auto fits = [&](const v1::Tuple& row, const v1::Relation& relation) {
      event::validate(row);
      if (row.lengths_size() != relation.columns_size()) unreadable(from);
    };
    for (const auto& change : tx.changes()) {
      for (const auto index : change.truncate().relations()) {
        if (index >= tables) unreadable(from);
      }
      if (!change.has_new_row() && !change.has_old_row()) continue;
      if (change.relation() >= tables) unreadable(from);
      const auto& relation = *part.relations()[change.relation()];
      if (change.has_new_row()) fits(change.new_row(), relation);
      if (change.has_old_row()) fits(change.old_row(), relation);
    }
  }

  [[noreturn]] static void unreadable(const v1::JournalPart& from) {
    throw Error(ErrorKind::storage,
                cat("the journal's part ", from.part(), " of the transaction cannot be read"),
                "was it written by a newer walign? Otherwise move the journal's directory away and run again")
        .at(Lsn(from.commit_lsn()));
  }

  state::JournalReader reader_;
  Lsn received_;
  Lsn acknowledged_;
  bool ended_ = false;
  std::uint32_t segment_ = 0;
  std::unordered_map<std::uint32_t, event::RelationPtr> numbers_;  // of the segment
  std::map<std::string, event::RelationPtr> known_;                // each once, over all segments
};

class OneAfterTheOther final : public Source {
 public:
  OneAfterTheOther(std::unique_ptr<Source> first, std::unique_ptr<Source> second)
      : first_(std::move(first)), second_(std::move(second)) {}

  std::optional<Item> next(std::chrono::milliseconds timeout) override {
    if (first_) {
      if (auto item = first_->next(timeout)) return item;
      if (!first_->ended()) return std::nullopt;
      first_.reset();
    }
    return second_->next(timeout);
  }
  void acknowledge(Lsn durable) override {
    if (durable > second_->acknowledged()) second_->acknowledge(durable);
  }
  void settle() override { second_->settle(); }
  [[nodiscard]] Lsn received() const override { return second_->received(); }
  [[nodiscard]] Lsn acknowledged() const override { return second_->acknowledged(); }
  [[nodiscard]] bool ended() const override { return !first_ && second_->ended(); }

 private:
  std::unique_ptr<Source> first_;  // null: it has ended
  std::unique_ptr<Source> second_;
};

}  // namespace

std::unique_ptr<Source> open_journal(const std::string& state_directory, Lsn from) {
  return std::make_unique<JournalSource>(state_directory, from);
}

std::unique_ptr<Source> one_after_the_other(std::unique_ptr<Source> first, std::unique_ptr<Source> second) {
  return std::make_unique<OneAfterTheOther>(std::move(first), std::move(second));
}

}  // namespace walign::source
