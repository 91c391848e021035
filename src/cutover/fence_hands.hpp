// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The half of the protocol's hands that touches rows, triggers and locks, on two servers. What a step does that
// changes no row (drain, prove, hooks), and which way the stream flows, is for who derives from it.
//
// A connection per side, made when it is needed and again when it was lost; a server of another system or timeline than
// expected is told apart at each. Between hold() and let_go() the taker's connection is in the opening's transaction.
#pragma once

#include "actions.hpp"
#include "driver.hpp"

namespace walign::cutover {

struct FenceSide {
  pg::ConnectionOptions connection;
  std::vector<TableName> tables;  // in the order in which they are fenced
  std::string address;            // where refusals on the other side send the application
  std::string stream;             // of walign.stream on this server: the one that writes to it
  std::string system_id;          // empty: not compared
  std::uint32_t timeline = 0;
};

class FenceHands : public Hands {
 public:
  FenceHands(std::string migration, FenceSide source, FenceSide target, config::Cutover settings,
             std::uint64_t owner);

  [[nodiscard]] std::uint64_t owner() const override { return owner_; }
  [[nodiscard]] std::size_t tables(Side giver) const override { return side(giver).tables.size(); }
  RowRead read_row(Side side) override;
  Answer write_row(const act::WriteRow& write) override;
  Answer fence_table(const act::FenceTable& table) override;
  Answer hold(const act::Hold& hold) override;
  void let_go() noexcept override { opening_.reset(); }
  Answer open_alone(const act::OpenAlone& open) override;
  Answer rehearse(Side giver) override;

  // Where a migration has no rows yet: this side open or closed, at epoch 0; closed with its triggers. May be repeated.
  void prepare(Side side, RowState first);
  // It has its closing triggers, and its row says that it takes no writes.
  bool closed(Side side);

  // Of the last attempt, for the report and for drain.
  struct Figures {
    std::vector<TableTimes> tables;
    Lsn fence_message_lsn, after_fence_lsn;  // the fence LSN lies between them
    Lsn open_message_lsn, after_open_lsn;
    double predicted_ms = 0;  // of a rehearsal: the fencing alone
  };
  [[nodiscard]] const Figures& figures() const { return figures_; }

 protected:
  pg::Connection& server(Side side);  // in a transaction while the taker is held
  [[nodiscard]] const FenceSide& side(Side which) const { return which == Side::source ? source_ : target_; }
  [[nodiscard]] FenceId id(Side which) const { return {migration_, which}; }
  [[nodiscard]] const config::Cutover& settings() const { return settings_; }

 private:
  struct Known {
    std::unique_ptr<pg::Connection> connection;
    std::uint64_t owner = 0;  // of the row, as last read or written
    bool breaks_deadlocks = false;
  };
  Known& known(Side which) { return which == Side::source ? known_source_ : known_target_; }
  [[nodiscard]] Guard guard(Side which) const { return {id(which), side(other(which)).address}; }
  [[nodiscard]] Limits limits(Side which);
  [[nodiscard]] FenceRow expected(Side which, const RowKey& key);
  Answer swap(Side which, const RowKey& finds, const RowKey& writes, std::optional<Millis> lease,
              const std::string& displaces = {});
  Answer flush_seal(Side giver);
  Answer open();

  const std::string migration_;
  const FenceSide source_;
  const FenceSide target_;
  const config::Cutover settings_;
  const std::uint64_t owner_;
  Known known_source_;
  Known known_target_;
  std::optional<Opening> opening_;  // on a connection above: goes first
  Figures figures_;
};

}  // namespace walign::cutover
