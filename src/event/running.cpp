// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The Assembler's messages about transactions that come before they have committed: in blocks while they are still
// running, or between PREPARE TRANSACTION and COMMIT PREPARED. To the Assembler these are the same.
#include "event/utf8.hpp"
#include "walign/event.hpp"

namespace walign::event {

void Assembler::begin_block(RunningPlace running, bool preparing) {
  header_.Clear();
  header_.set_xid(running->first);
  header_.set_origin(running->second.origin);
  header_.set_origin_lsn(running->second.origin_lsn);
  header_.set_gid(running->second.gid);
  block_ = &running->second;
  preparing_ = preparing;
  latest_ = nullptr;
  open_part();
}

Taken Assembler::end_block() {
  block_ = nullptr;
  preparing_ = false;
  latest_ = nullptr;
  TransactionPart part = take_part();
  if (part.tx().changes_size() == 0) return {};
  return RunningPart{std::move(part)};
}

Assembler::RunningPlace Assembler::running(std::uint32_t xid, const char* doing) {
  if (in_transaction()) malformed(cat(doing, " of transaction ", xid, " inside transaction ", header_.xid()));
  const auto found = running_.find(xid);
  if (found == running_.end())
    malformed(cat(doing, " of transaction ", xid, ", of which nothing came before"));
  return found;
}

Taken Assembler::committed(RunningPlace running, Lsn commit_lsn, Lsn end_lsn, std::int64_t commit_time_us) {
  if (end_lsn <= commit_lsn) malformed(cat("COMMIT at ", commit_lsn, " ends at ", end_lsn, ", not after it"));
  RunningCommitted out;
  out.header.set_xid(running->first);
  out.header.set_commit_lsn(commit_lsn.value);
  out.header.set_end_lsn(end_lsn.value);
  out.header.set_commit_time_us(commit_time_us);
  out.header.set_origin(running->second.origin);
  out.header.set_origin_lsn(running->second.origin_lsn);
  out.header.set_gid(running->second.gid);
  // What it was told of its tables now holds for all: the source does not say it again.
  for (auto& [oid, relation] : running->second.relations)
    relations_[oid] = Known{std::move(relation.relation)};
  running_.erase(running);
  return out;
}

// ------------------------------------------------------------------------------------------ in blocks

Taken Assembler::on(const decode::StreamStart& message) {
  if (in_transaction()) {
    malformed(cat("a block of transaction ", message.xid, " inside transaction ", header_.xid()));
  }
  if (message.first) running_[message.xid] = Running();
  begin_block(running(message.xid, "a later block"), false);
  return {};
}

Taken Assembler::on(const decode::StreamStop&) {
  if (block_ == nullptr || preparing_) malformed("the end of a block outside one");
  return end_block();
}

Taken Assembler::on(const decode::StreamCommit& message) {
  return committed(running(message.xid, "COMMIT"), message.commit_lsn, message.end_lsn,
                   message.commit_time_us);
}

Taken Assembler::on(const decode::StreamAbort& message) {
  const auto its = running(message.xid, "ROLLBACK");
  if (message.subxid == message.xid) running_.erase(its);
  return RunningAborted{message.xid, message.subxid};
}

// -------------------------------------------------------------------------------------- in two phases

Taken Assembler::on(const decode::BeginPrepare& message) {
  if (in_transaction()) {
    malformed(cat("PREPARE of transaction ", message.xid, " inside transaction ", header_.xid()));
  }
  check_utf8(message.gid, "the name of a prepared transaction");
  running_[message.xid] = Running();
  const auto its = running_.find(message.xid);
  its->second.gid = message.gid;
  begin_block(its, true);
  return {};
}

Taken Assembler::on(const decode::Prepare& message) {
  if (!preparing_ || message.xid != header_.xid())
    malformed(cat("PREPARE of transaction ", message.xid, " without its beginning"));
  block_->prepared = true;
  return end_block();
}

Taken Assembler::on(const decode::StreamPrepare& message) {
  check_utf8(message.gid, "the name of a prepared transaction");
  auto& its = running(message.xid, "PREPARE")->second;
  its.gid = message.gid;
  its.prepared = true;
  return {};
}

Taken Assembler::on(const decode::CommitPrepared& message) {
  if (!in_transaction() && !has_running(message.xid)) {
    throw Error(
        ErrorKind::malformed,
        cat("COMMIT PREPARED of transaction ", message.xid, ", of which nothing came before"),
        "it was prepared before this stream begins, and its rows are not here: read a capture that begins "
        "before its PREPARE TRANSACTION, or make a new slot and begin again")
        .at(message.commit_lsn);
  }
  return committed(running(message.xid, "COMMIT PREPARED"), message.commit_lsn, message.end_lsn,
                   message.commit_time_us);
}

// Of one that was prepared before the stream begins nothing is here that could be undone.
Taken Assembler::on(const decode::RollbackPrepared& message) {
  if (!in_transaction() && !has_running(message.xid)) return {};
  running_.erase(running(message.xid, "ROLLBACK PREPARED"));
  return RunningAborted{message.xid, message.xid};
}

std::vector<std::uint32_t> Assembler::reconnected() {
  std::vector<std::uint32_t> forgotten;
  for (auto its = running_.begin(); its != running_.end();) {
    if (its->second.prepared) {
      ++its;
      continue;
    }
    forgotten.push_back(its->first);
    its = running_.erase(its);
  }
  part_.reset();
  block_ = nullptr;
  latest_ = nullptr;
  preparing_ = false;
  relations_.clear();
  types_.clear();
  header_.Clear();
  return forgotten;
}

}  // namespace walign::event
