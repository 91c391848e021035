// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The inside of an Applier, shared by the files that make it: applier.cpp (batches), careful.cpp (what happens
// when one fails), dead_letters.cpp.
#pragma once

#include "dead_letters.hpp"
#include "encode.hpp"

namespace walign::apply {

struct Applier::Impl {
  Impl(Options o, std::vector<mapping::Route> r);

  // ---- batches
  void add(event::TransactionPart part, std::vector<Exception> its_exceptions, std::vector<Extra> its_extra);
  void add_change(std::size_t part, int index);
  // What a change means for one route; nothing where a copy of old rows has it.
  std::optional<SingleChange> meaning(std::size_t part, int index, const Binding& binding);
  bool dropped(std::size_t part, int index, const Binding& binding) const;
  void add_truncate(std::size_t part, int index);
  void bind_all(const event::TransactionPart& part);
  // The step that sets a change aside, if its key has a dead letter. From then on all its keys have one.
  std::optional<QueueStep> queued(const SingleChange& change, const v1::Change& event, std::size_t part);
  TruncateStep truncate_step(std::size_t part, int index);
  void flush();
  std::vector<Execution> encode(const std::vector<Step>& steps, Updates updates);
  void append_aside(const QueueStep& step, std::vector<Execution>& out);
  void append_moot(const TruncateStep& truncate, std::vector<Execution>& out);
  // Sends the executions, opening a transaction if none is open, committing at `commit_at` if it is valid.
  void write(const std::vector<Execution>& executions, Lsn commit_at);
  void prepare(const std::vector<Execution>& executions);
  void begin(const std::string& settings);  // with the signature
  void count(const std::vector<Execution>& executions, const std::vector<pg::Result>& results,
             std::size_t first);
  void committed();
  // A transaction that left nothing to write: the position moves with the next one that does.
  void nothing_to_write(Lsn at);
  void forget_batch();
  void rollback();
  void check_books();

  // ---- when a batch fails for its data
  void flush_carefully();
  void apply_transaction(const std::vector<const event::TransactionPart*>& parts);
  void row_by_row(const std::vector<const event::TransactionPart*>& parts, Lsn commit_at);
  bool exchange(const std::vector<const event::TransactionPart*>& parts, Lsn commit_at);
  void setting_aside(const std::vector<const event::TransactionPart*>& parts, Lsn commit_at);
  void one_or_aside(const Step& step, const Aside& aside);
  void count_decoded(std::size_t part);
  void forget_counts();
  std::int64_t set_aside(const Aside& aside, std::int64_t chain, const Error* error);
  // Every change of a part as steps of one change each.
  void each_change(const event::TransactionPart& part,
                   const std::function<void(const Step&, const Aside&)>& visit);

  Options options;
  std::vector<mapping::Route> routes;
  pg::Connection connection;
  Router router{routes, options.ignored_relations};
  Statements statements;
  Encoder encoder{statements};
  std::unique_ptr<Compactor> compactor;
  std::set<std::string> prepared;
  DeadKeys dead_keys;
  std::int64_t dead_letters = 0;

  std::uint64_t epoch = 0;
  Lsn position;  // on the target
  bool replica_role = false;
  Lsn careful_at;

  std::vector<event::TransactionPart> parts;       // of the batch
  std::vector<std::vector<Exception>> exceptions;  // of each part
  std::vector<Extra> extra;                        // of the batch
  bool extra_sent = false;                         // in the transaction that is open
  std::size_t batch_bytes = 0;
  std::uint64_t batch_changes = 0;
  std::size_t failed_execution = 0;  // of the last write() that failed
  Lsn reached;                       // as far as the position, or further where nothing had to be written
  bool open = false;                 // the target transaction has begun and is not committed
  std::vector<Books> open_books;     // of what is not committed, by route id
  std::uint64_t open_transactions = 0;
  std::vector<Books> books;
  std::uint64_t transactions = 0;
  std::int64_t commit_time_us = 0;
  std::int64_t open_commit_time_us = 0;

  struct Unflushed {
    Lsn position;
    Lsn target_lsn;  // durable when the target has flushed past this
  };
  std::deque<Unflushed> unflushed;
  Lsn durable;
  Lsn last_commit_on_target;
  FlushStats stats;
};

// Whether a statement failed for the data it was given, so that another way may succeed or a row be set aside.
bool is_data_error(const Error& error);

}  // namespace walign::apply
