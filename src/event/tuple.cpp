// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "walign/event.hpp"

namespace walign::event {

void append_value(v1::Tuple& tuple, const Value& value) {
  if (value.state != State::value) {
    tuple.add_lengths(static_cast<std::uint32_t>(value.state));
    return;
  }
  constexpr std::size_t kMaxLength = std::numeric_limits<std::uint32_t>::max() - kFirstLength;
  if (value.bytes.size() > kMaxLength) {
    throw Error(ErrorKind::malformed, cat("a value of ", value.bytes.size(), " bytes"),
                "PostgreSQL's values end at 1 GB; look at what made this one");
  }
  if (value.binary) {  // the columns before it that `binary` does not reach yet are text
    std::string& binary = *tuple.mutable_binary();
    binary.resize(static_cast<std::size_t>(tuple.lengths_size()));
    binary.push_back(1);
  }
  tuple.mutable_values()->append(value.bytes);
  tuple.add_lengths(static_cast<std::uint32_t>(value.bytes.size()) + kFirstLength);
}

void validate(const v1::Tuple& tuple) {
  std::uint64_t bytes = 0;
  for (const std::uint32_t code : tuple.lengths()) bytes += code < kFirstLength ? 0 : code - kFirstLength;
  const char* hint = "the event was damaged or made by another program; fetch it again from where it came";
  if (bytes != tuple.values().size()) {
    throw Error(ErrorKind::malformed,
                cat("a row's lengths add up to ", bytes, " bytes, its values have ", tuple.values().size()),
                hint);
  }
  if (tuple.binary().size() > static_cast<std::size_t>(tuple.lengths_size())) {
    throw Error(
        ErrorKind::malformed,
        cat("a row of ", tuple.lengths_size(), " columns has binary flags for ", tuple.binary().size()),
        hint);
  }
}

}  // namespace walign::event
