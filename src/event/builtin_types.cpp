// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "event/builtin_types.hpp"

#include <algorithm>
#include <iterator>

namespace walign::event {

namespace {

struct Builtin {
  std::uint32_t oid;
  std::string_view name;
};
constexpr Builtin kBuiltins[] = {
#include "event/builtin_types.inc"
};
static_assert(std::is_sorted(std::begin(kBuiltins), std::end(kBuiltins),
                             [](const Builtin& a, const Builtin& b) { return a.oid < b.oid; }));

}  // namespace

std::string_view builtin_type_name(std::uint32_t oid) {
  const auto* found =
      std::lower_bound(std::begin(kBuiltins), std::end(kBuiltins), oid,
                       [](const Builtin& entry, std::uint32_t value) { return entry.oid < value; });
  return found != std::end(kBuiltins) && found->oid == oid ? found->name : std::string_view();
}

}  // namespace walign::event
