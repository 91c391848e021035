// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "rows.hpp"

namespace walign::backfill {

namespace {

// The signature, no flags, no extension. Whatever else came would have to be understood first.
constexpr std::string_view kHeader("PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0", 19);
constexpr std::string_view kTrailer("\xff\xff", 2);

std::string format(bool binary) { return binary ? " (FORMAT binary)" : ""; }

}  // namespace

RowsOut::RowsOut(pg::Connection& source, const std::string& query, bool binary)
    : out_(source, cat("COPY (", query, ") TO STDOUT", format(binary))), binary_(binary) {}

std::optional<std::string_view> RowsOut::next() {
  auto piece = out_.next();
  if (!binary_ || !piece) return piece;
  // The header comes with the first row, or with the trailer.
  if (std::exchange(first_, false)) {
    if (piece->substr(0, kHeader.size()) != kHeader) {
      throw Error(ErrorKind::malformed, "COPY in binary format begins with something else than its header",
                  "this is a defect in walign, or in what stands between it and the source; report it");
    }
    piece->remove_prefix(kHeader.size());
    if (piece->empty()) piece = out_.next();
  }
  if (piece != kTrailer) return piece;
  pass_over();
  return std::nullopt;
}

void RowsOut::pass_over() {
  while (out_.next()) {
  }
}

RowsIn::RowsIn(pg::Connection& target, const std::string& into, bool binary)
    : in_(target, cat("COPY ", into, " FROM STDIN", format(binary))), binary_(binary) {
  gathered_.reserve(kMostGathered);
  if (binary_) gathered_ = kHeader;
}

void RowsIn::add(std::string_view row) {
  if (gathered_.size() + row.size() > kMostGathered) pass_on();
  if (row.size() > kMostGathered) return in_.write(row);
  gathered_.append(row);
}

std::int64_t RowsIn::finish() {
  if (binary_) add(kTrailer);
  pass_on();
  return in_.finish();
}

void RowsIn::pass_on() {
  if (!gathered_.empty()) in_.write(gathered_);
  gathered_.clear();
}

}  // namespace walign::backfill
