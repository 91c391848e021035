// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What must be known of a stream to cut its capture into segments at which reading can begin: which transactions are
// running or prepared and where they began, and how tables and types are described. It looks at tags and identifiers.
//
// Threads: plain values.
#pragma once

#include <map>
#include <set>

#include "walign/capture.hpp"

namespace walign::source {

class Recorder {
 public:
  // What an earlier connection's segments had prepared: it outlives the connection.
  void go_on_with(const v1::CaptureHeader& header);
  // Looks at one message, which goes to segment `segment`. Throws Error(malformed).
  void take(Bytes payload, std::uint32_t segment);
  // A keepalive: everything that committed below has been sent.
  void passed(Lsn position);

  // Neither inside a transaction nor inside a block: a segment may end here.
  [[nodiscard]] bool between() const { return !in_transaction_ && block_ == 0; }
  // Everything that ends here or below has been taken; what is running will come again whole.
  [[nodiscard]] Lsn position() const { return position_; }
  // Where the oldest transaction that is running began; `segment` if none is.
  [[nodiscard]] std::uint32_t oldest_needed(std::uint32_t segment) const;
  // What is prepared now, for a header.
  [[nodiscard]] std::vector<v1::PreparedTransaction> prepared() const;
  // The tables (OIDs) that were described for the first time, or otherwise than before, since this was last asked.
  [[nodiscard]] std::set<std::uint32_t> take_newly_described() { return std::exchange(newly_described_, {}); }
  // Messages that describe tables and types, as they hold between transactions.
  [[nodiscard]] std::vector<std::string> descriptions() const;
  [[nodiscard]] std::uint64_t transactions() const { return transactions_; }

 private:
  using Descriptions = std::map<std::pair<char, std::uint32_t>, std::string>;  // by tag and OID
  struct Running {
    std::uint32_t segment = 0;
    Descriptions descriptions;
    bool prepared = false;
  };
  void describe(char tag, ByteReader reader, Bytes payload);
  void described(Descriptions& where, char tag, std::uint32_t oid, std::string text);
  void committed(ByteReader& reader);
  void finished(std::uint32_t xid);
  void take_two_phase(char tag, ByteReader& reader, std::uint32_t segment);

  Descriptions descriptions_;
  std::set<std::uint32_t> newly_described_;
  std::uint32_t begins_unknown_in_ =
      0;  // where what is not known here had its beginning, at the earliest; 0: nowhere
  std::map<std::uint32_t, Running> running_;  // by xid
  std::uint32_t block_ = 0;                   // the xid of the open block; 0: none
  bool in_transaction_ = false;
  Lsn position_;
  std::uint64_t transactions_ = 0;
};

}  // namespace walign::source
