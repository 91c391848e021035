// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// spill: transactions that are still running, out of memory. A part of module state, and the one that means
// nothing after a restart: the source sends a transaction that has not committed again from its beginning, on every
// connection, and a crash of the source never says that one is gone.
//
//   DIRECTORY/spill/   one RocksDB, without a log of its own: (transaction, number) -> bytes
//
// Invariants
//  1. open() begins empty, whatever was there.
//  2. What was put is got again, unchanged, until it is dropped, or Error(storage).
//  3. Memory is bounded: a few buffers of some MiB, however much is put.
//
// Nothing here is durable, nor meant to be.
// Threads: any, also at once.
#pragma once

#include <memory>

#include "walign/base.hpp"

namespace walign::state {

class Spill {
 public:
  // Makes DIRECTORY/spill; the directory is there and held by this process. Throws Error(storage, precondition).
  static std::unique_ptr<Spill> open(const std::string& directory);
  virtual ~Spill() = default;

  // `transaction`: any number of the caller's that is not used for another at the same time.
  virtual void put(std::uint64_t transaction, std::uint64_t number, std::string_view bytes) = 0;
  virtual std::string get(std::uint64_t transaction, std::uint64_t number) = 0;
  // All of it; the room on disk comes back soon.
  virtual void drop(std::uint64_t transaction) = 0;
  // Put and not dropped.
  [[nodiscard]] virtual std::uint64_t bytes() const = 0;

 protected:
  Spill() = default;
};

}  // namespace walign::state
