// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "running.hpp"

namespace walign::source {

namespace {

// Takes out the changes of what was rolled back.
void remove_aborted(v1::Transaction& tx, const std::set<std::uint32_t>& aborted) {
  auto& changes = *tx.mutable_changes();
  int kept = 0;
  for (int i = 0; i < changes.size(); ++i) {
    if (!aborted.contains(changes[i].xid())) changes.SwapElements(kept++, i);
  }
  changes.DeleteSubrange(kept, changes.size() - kept);
}

}  // namespace

Committed::~Committed() {
  if (!spilled_) return;
  try {
    spill_.drop(number_);
  } catch (const Error&) {  // the spill is emptied when it is opened
  }
}

event::RelationPtr Committed::described(const v1::Relation& relation) {
  auto [entry, is_new] = relations_.try_emplace(relation.SerializeAsString());
  if (is_new) entry->second = std::make_shared<const v1::Relation>(relation);
  return entry->second;
}

event::TransactionPart Committed::take(std::size_t index) {
  if (pieces_[index].part) return std::move(*pieces_[index].part);
  event::TransactionPart part;
  if (!part.mutable_tx().ParseFromString(spill_.get(number_, index))) {
    throw Error(
        ErrorKind::storage,
        cat("transaction ", header_.xid(), " cannot be read back from the spill, piece ", index),
        "the state directory's disk lost bytes: look at it; walign reads the transaction again from the "
        "source");
  }
  for (const auto& relation : part.tx().relations()) part.add_relation(described(relation));
  part.mutable_tx().clear_relations();
  part.set_memory_bytes(pieces_[index].memory_bytes);
  return part;
}

event::TransactionPart Committed::next() {
  WALIGN_CHECK(next_ <= pieces_.size());
  const bool last = next_ == pieces_.size();
  event::TransactionPart part = last ? event::TransactionPart() : take(next_);
  auto& tx = part.mutable_tx();
  if (!aborted_.empty()) remove_aborted(tx, aborted_);
  for (auto& change : *tx.mutable_changes()) change.clear_xid();
  tx.MergeFrom(header_);
  tx.set_part(static_cast<std::uint32_t>(next_));
  tx.set_last(last);
  if (!last) tx.clear_end_lsn();
  ++next_;
  return part;
}

void RunningTransactions::add(event::RunningPart running) {
  const std::uint32_t xid = running.part.tx().xid();
  auto& its = running_[xid];
  if (!its) its = std::make_unique<Committed>(*spill_, ++last_number_);
  const std::size_t bytes = running.part.memory_bytes();
  its->memory_bytes_ += bytes;
  memory_bytes_ += bytes;
  its->pieces_.push_back({std::move(running.part), bytes});
  while (memory_bytes_ > most_bytes_) spill_largest();
}

void RunningTransactions::spill_largest() {
  const auto largest = std::max_element(running_.begin(), running_.end(), [](const auto& a, const auto& b) {
    return a.second->memory_bytes_ < b.second->memory_bytes_;
  });
  auto& its = *largest->second;
  WALIGN_CHECK(its.memory_bytes_ > 0);
  for (std::size_t i = 0; i < its.pieces_.size(); ++i) {
    auto& part = its.pieces_[i].part;
    if (!part) continue;
    for (const auto& relation : part->relations())
      its.relations_.try_emplace(relation->SerializeAsString(), relation);
    part->make_self_contained();
    spill_->put(its.number_, i, part->tx().SerializeAsString());
    part.reset();
  }
  its.spilled_ = true;
  memory_bytes_ -= its.memory_bytes_;
  its.memory_bytes_ = 0;
}

void RunningTransactions::abort(const event::RunningAborted& aborted) {
  const auto found = running_.find(aborted.xid);
  if (found == running_.end()) return;  // its blocks had no change of ours
  if (aborted.subxid != aborted.xid) {
    found->second->aborted_.insert(aborted.subxid);
    return;
  }
  memory_bytes_ -= found->second->memory_bytes_;
  running_.erase(found);
}

std::unique_ptr<Committed> RunningTransactions::commit(const event::RunningCommitted& committed) {
  const auto found = running_.find(committed.header.xid());
  std::unique_ptr<Committed> its;
  if (found == running_.end()) {
    its = std::make_unique<Committed>(*spill_, ++last_number_);
  } else {
    its = std::move(found->second);
    running_.erase(found);
  }
  memory_bytes_ -= its->memory_bytes_;
  its->header_ = committed.header;
  return its;
}

}  // namespace walign::source
