// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/format.hpp"

namespace walign::state {

void require_known_format(unsigned format, std::string_view subject, unsigned newest) {
  if (format >= kOldestFormat && format <= newest) return;
  const std::string reads =
      newest == kOldestFormat ? cat("format ", newest) : cat("formats ", kOldestFormat, " to ", newest);
  throw Error(
      ErrorKind::malformed, cat(subject, " has format ", format, ", this program reads ", reads),
      format == 0 ? "no walign writes that: it is damaged" : "if a newer walign wrote it, run that one");
}

std::string upgraded(std::string_view what, std::string payload, unsigned format,
                     std::span<const UpgradeStep> steps) {
  WALIGN_CHECK(format >= kOldestFormat && format - kOldestFormat <= steps.size());
  for (const auto& step : steps.subspan(format - kOldestFormat)) payload = step(what, std::move(payload));
  return payload;
}

}  // namespace walign::state
