// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Runs of inserts as COPY: for a row of which the mapping makes nothing else, the target has a little more than half
// the work of one that comes in arrays. But COPY cannot be part of a pipeline, and costs round trips. Pure.
#pragma once

#include "router.hpp"

namespace walign::apply {

// COPY table (columns) FROM STDIN.
struct CopyInto {
  std::string sql;
  std::vector<int> inputs;  // of each column: index into Route::source_columns
};
// Nothing where a value is another on the target, or of another type: then the mapping's SQL is needed.
std::optional<CopyInto> copy_into(const mapping::Route& route);

// Builds the text of a COPY, row by row.
class CopyRows {
 public:
  CopyRows(const mapping::Route& route, const CopyInto& into)
      : into_(into), values_(route.source_columns.size()) {}
  // Throws Error(conflict) where a value was not sent.
  void add(const Binding& binding, const v1::Tuple& row);
  [[nodiscard]] std::string take() { return std::exchange(text_, {}); }

 private:
  const CopyInto& into_;
  std::vector<event::Value> values_;  // of a row, by source column
  std::string text_;
};

// A value that must be there was not sent.
[[noreturn]] void missing_value(const Binding& binding, int source_column);

// From how many rows on COPY is worth its round trips.
std::size_t rows_worth_a_copy(std::chrono::microseconds round_trip);

}  // namespace walign::apply
