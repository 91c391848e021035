// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Sequences at a change of sides. They are paired by the columns that they serve: as the owner of a serial or identity
// column does, or by being used in a default. The taker's is set to greatest(both) + margin, never backwards; the
// margin is for values that the application has drawn on the giver and not used yet, since nextval passes the fence.
//
// setval is not transactional: what is set stays set when the attempt is backed out, and does no harm.
#pragma once

#include "fence.hpp"
#include "walign/mapping.hpp"

namespace walign::cutover {

struct Sequence {
  std::string name;  // quoted and qualified
  std::int64_t last_value = 0;
  bool is_called = false;  // else the next one is last_value itself
  std::int64_t increment = 1;
  std::int64_t min_value = 1;
  std::int64_t max_value = 0;
  bool cycles = false;
  bool readable = true;  // SELECT is granted; USAGE alone shows no value
  bool settable = true;  // UPDATE is
};
struct Served {
  TableName table;
  std::string column;
  std::string sequence;  // Sequence::name
};
struct Sequences {
  std::vector<Sequence> all;
  std::vector<Served> served;  // columns of the tables; those of a partition count as its root's
  [[nodiscard]] const Sequence* find(const std::string& name) const;
};
Sequences read_sequences(pg::Connection& server, const std::vector<TableName>& tables);

struct SequencePair {
  std::string giver;
  std::string taker;
  std::vector<std::string> columns;  // "public.t.id -> public.u.id"
  bool operator==(const SequencePair&) const = default;
};
struct Pairing {
  std::vector<SequencePair> pairs;
  std::vector<std::string> notes;  // columns whose sequence on the taker is not set, and why
};
// `routes`: in the direction of the change, from the giver to the taker.
Pairing pair_sequences(const std::vector<mapping::Route>& routes, const Sequences& giver,
                       const Sequences& taker);

// The last value that `taker` shall have given out, as setval(..., true) takes it; nothing if it is there already.
std::optional<std::int64_t> next_start(const Sequence& giver, const Sequence& taker, std::int64_t margin);

struct SequenceSet {
  std::string giver;
  std::string taker;
  std::vector<std::string> columns;
  std::int64_t giver_value = 0;
  std::int64_t before = 0;
  std::int64_t after = 0;
};
// `giver` and `here`, the taker's, as they were just read. May be repeated, with new ones. Error(precondition) where a
// sequence may not be read or set.
std::vector<SequenceSet> set_sequences(pg::Connection& taker, const Pairing& pairing, const Sequences& giver,
                                       const Sequences& here, std::int64_t margin);

}  // namespace walign::cutover
