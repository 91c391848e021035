// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Rows on their way from a COPY of the source to one of the target, unparsed. In binary format a COPY has a header
// before its first row and a trailer after its last; they are taken off on one side and made anew on the other, so that
// one COPY of the target takes the rows of any number of the source's.
//
//   header row row trailer │ header row trailer ──RowsOut──> row row row ──RowsIn──> header row row row trailer
//
// Threads: as the connections.
#pragma once

#include "walign/pg.hpp"

namespace walign::backfill {

class RowsOut {
 public:
  // `query` is what stands in the parentheses of COPY (...) TO STDOUT.
  RowsOut(pg::Connection& source, const std::string& query, bool binary);
  // The next row, borrowed until the next call; nothing at the end, when the connection is free again.
  std::optional<std::string_view> next();
  // Ends a COPY that was cancelled: what still comes is passed over.
  void pass_over();

 private:
  pg::CopyOut out_;
  const bool binary_;
  bool first_ = true;
};

// Destroyed before finish(), it leaves a connection that is good for nothing.
class RowsIn {
 public:
  RowsIn(pg::Connection& target, const std::string& into, bool binary);
  void add(std::string_view row);
  // How many rows the target took.
  std::int64_t finish();

 private:
  void pass_on();
  // A message and a look at the socket for each row would cost more than the rows.
  static constexpr std::size_t kMostGathered = std::size_t{64} << 10U;
  pg::CopyIn in_;
  const bool binary_;
  std::string gathered_;
};

}  // namespace walign::backfill
