// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What must be known of a stream to cut its capture into segments at which reading can begin: which transactions are
// running and where they began, and how tables and types are described. It looks at tags and identifiers alone.
//
// Threads: plain values.
#pragma once

#include <map>

#include "walign/base.hpp"

namespace walign::source {

class Recorder {
 public:
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
  // Messages that describe tables and types, as they hold between transactions.
  [[nodiscard]] std::vector<std::string> descriptions() const;
  [[nodiscard]] std::uint64_t transactions() const { return transactions_; }

 private:
  using Descriptions = std::map<std::pair<char, std::uint32_t>, std::string>;  // by tag and OID
  struct Running {
    std::uint32_t segment = 0;
    Descriptions descriptions;
  };
  void describe(char tag, ByteReader reader, Bytes payload);
  void committed(ByteReader& reader);

  Descriptions descriptions_;
  std::map<std::uint32_t, Running> running_;  // by xid
  std::uint32_t block_ = 0;                   // the xid of the open block; 0: none
  bool in_transaction_ = false;
  Lsn position_;
  std::uint64_t transactions_ = 0;
};

}  // namespace walign::source
