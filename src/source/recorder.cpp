// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "recorder.hpp"

namespace walign::source {

// Inside a block a description has the transaction's xid first, and holds for that alone until it has committed.
void Recorder::describe(char tag, ByteReader reader, Bytes payload) {
  const auto text = as_text(payload);
  if (block_ == 0) {
    descriptions_[{tag, reader.u32("OID")}] = std::string(text);
    return;
  }
  reader.u32("xid");
  running_[block_].descriptions[{tag, reader.u32("OID")}] = cat(std::string(1, tag), text.substr(5));
}

// flags, commit LSN, end LSN
void Recorder::committed(ByteReader& reader) {
  reader.u8("flags");
  reader.u64("commit LSN");
  passed(Lsn(reader.u64("end LSN")));
  ++transactions_;
}

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
      const auto its = running_.find(reader.u32("xid"));
      committed(reader);
      if (its == running_.end()) break;
      for (auto& [key, text] : its->second.descriptions) descriptions_[key] = std::move(text);
      running_.erase(its);
      break;
    }
    case 'A': {
      const auto xid = reader.u32("xid");
      if (reader.u32("subtransaction xid") == xid) running_.erase(xid);
      break;
    }
    default: break;
  }
}

void Recorder::passed(Lsn position) { position_ = std::max(position_, position); }

std::uint32_t Recorder::oldest_needed(std::uint32_t segment) const {
  for (const auto& [xid, running] : running_) segment = std::min(segment, running.segment);
  return segment;
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
