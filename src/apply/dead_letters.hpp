// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Changes that could not be applied, and those that queue behind them. Stored on the target in the transaction
// that passes them by; a chain is what must be applied in order: the changes of one key, and of keys that a key
// change joined to it.
#pragma once

#include "steps.hpp"
#include "walign/apply.hpp"

namespace walign::apply {

// "id=5, kind=x" of the key's source columns; at most some hundred characters.
std::string describe_key(const Binding& binding, const v1::Tuple& row);
std::string_view operation_of(SingleChange::Kind kind);

struct Aside {
  SingleChange change;
  const v1::Change* event = nullptr;  // as received
  const event::TransactionPart* part = nullptr;
};

// The statement that stores one, and its parameters (text).
struct AsideInsert {
  std::string sql;
  std::vector<std::string> params;
};

// Which keys have dead letters. Memory only; the target has the truth.
class DeadKeys {
 public:
  void load(pg::Connection& target, const std::string& stream, const std::vector<mapping::Route>& routes);
  [[nodiscard]] bool empty() const { return chains_.empty(); }
  // The chain that a change must queue behind; 0 if none.
  [[nodiscard]] std::int64_t chain_of(const SingleChange& change) const;
  // Every key of the change now belongs to `chain`; the chain that must be joined to it on the target, or 0.
  std::int64_t add(const SingleChange& change, std::int64_t chain);
  // The table or partition was emptied: what its dead letters were about is gone.
  void forget(const Binding& binding);

 private:
  struct Standing {
    std::int64_t chain = 0;
    std::set<std::string> relations;  // whose rows the dead letters are: a partition each
  };
  static std::vector<std::string> keys_of(const SingleChange& change);
  std::map<std::pair<int, std::string>, Standing> chains_;  // by route id and key bytes
};

AsideInsert aside_insert(const std::string& stream, const Aside& aside, std::int64_t chain,
                         const Error* error);

}  // namespace walign::apply
