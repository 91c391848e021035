// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "recorder.hpp"

namespace walign::source {

void Recorder::go_on_with(const v1::CaptureHeader& header) {
  running_.clear();
  for (const auto& prepared : header.prepared()) running_[prepared.xid()] = {prepared.segment(), {}, true};
  begins_unknown_in_ = header.needs_segment();
}

void Recorder::described(Descriptions& where, char tag, std::uint32_t oid, std::string text) {
  auto& before = where[{tag, oid}];
  if (before == text) return;
  if (tag == 'R') newly_described_.insert(oid);
  before = std::move(text);
}

// Inside a block a description has the transaction's xid first, and holds for that alone until it has committed.
void Recorder::describe(char tag, ByteReader reader, Bytes payload) {
  const auto text = as_text(payload);
  if (block_ == 0) return described(descriptions_, tag, reader.u32("OID"), std::string(text));
  reader.u32("xid");
  auto its = cat(std::string(1, tag), text.substr(5));
  const auto oid = reader.u32("OID");
  // Each streamed transaction is told of its tables anew.
  const auto known = descriptions_.find({tag, oid});
  if (known != descriptions_.end() && known->second == its) {
    running_[block_].descriptions[{tag, oid}] = std::move(its);
  } else {
    described(running_[block_].descriptions, tag, oid, std::move(its));
  }
}

// flags, commit LSN, end LSN
void Recorder::committed(ByteReader& reader) {
  reader.u8("flags");
  reader.u64("commit LSN");
  passed(Lsn(reader.u64("end LSN")));
  ++transactions_;
}

void Recorder::finished(std::uint32_t xid) {
  const auto its = running_.find(xid);
  if (its == running_.end()) return;
  for (auto& [key, text] : its->second.descriptions) descriptions_[key] = std::move(text);
  running_.erase(its);
}

namespace {

// LSN, LSN, time; the xid comes after them.
std::uint32_t xid_of_prepared(ByteReader& reader) {
  reader.u64("LSN");
  reader.u64("end LSN");
  reader.u64("time");
  return reader.u32("xid");
}

}  // namespace

void Recorder::take(Bytes payload, std::uint32_t segment) {
  ByteReader reader(payload);
  const char tag = static_cast<char>(reader.u8("tag"));
  switch (tag) {
    case 'R':
    case 'Y': describe(tag, reader, payload); break;
    case 'B': in_transaction_ = true; break;
    case 'C':
      in_transaction_ = false;
      committed(reader);
      break;
    case 'S':
      block_ = reader.u32("xid");
      if (reader.u8("first segment") == 1) running_[block_] = {segment, {}};
      break;
    case 'E': block_ = 0; break;
    case 'c': {
      const auto xid = reader.u32("xid");
      committed(reader);
      finished(xid);
      break;
    }
    case 'A': {
      const auto xid = reader.u32("xid");
      if (reader.u32("subtransaction xid") == xid) running_.erase(xid);
      break;
    }
    default: take_two_phase(tag, reader, segment);
  }
}

// BEGIN PREPARE, PREPARE, STREAM PREPARE, COMMIT PREPARED, ROLLBACK PREPARED
void Recorder::take_two_phase(char tag, ByteReader& reader, std::uint32_t segment) {
  switch (tag) {
    case 'b':
      in_transaction_ = true;
      running_[xid_of_prepared(reader)] = {segment, {}};
      break;
    case 'P':
    case 'p': {
      reader.u8("flags");
      in_transaction_ = false;
      const auto unknown = begins_unknown_in_ == 0 ? segment : begins_unknown_in_;
      running_.try_emplace(xid_of_prepared(reader), Running{unknown, {}}).first->second.prepared = true;
      break;
    }
    case 'K': {
      ByteReader positions = reader;
      reader.u8("flags");
      const auto xid = xid_of_prepared(reader);
      committed(positions);
      finished(xid);
      break;
    }
    case 'r':
      reader.u8("flags");
      reader.u64("prepare end LSN");
      running_.erase(xid_of_prepared(reader));
      break;
    default: break;
  }
}

void Recorder::passed(Lsn position) { position_ = std::max(position_, position); }

std::uint32_t Recorder::oldest_needed(std::uint32_t segment) const {
  for (const auto& [xid, running] : running_) segment = std::min(segment, running.segment);
  return segment;
}

std::vector<v1::PreparedTransaction> Recorder::prepared() const {
  std::vector<v1::PreparedTransaction> out;
  for (const auto& [xid, running] : running_) {
    if (!running.prepared) continue;
    auto& its = out.emplace_back();
    its.set_xid(xid);
    its.set_segment(running.segment);
  }
  return out;
}

std::vector<std::string> Recorder::descriptions() const {
  std::vector<std::string> out;
  // A table's description uses the names of types that came before it.
  for (const char tag : {'Y', 'R'}) {
    for (const auto& [key, text] : descriptions_) {
      if (key.first == tag) out.push_back(text);
    }
  }
  return out;
}

}  // namespace walign::source
