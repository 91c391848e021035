// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The inside of an Applier, shared by the files that make it: applier.cpp (what a batch gathers), flush.cpp (how it is
// written), careful.cpp (what happens when one fails), dead_letters.cpp.
//
// While one batch is written by a thread of its own, the next is gathered and encoded. That thread alone uses the
// connection until its answer is taken (settle()); whoever else needs the connection settles first. Where the answer is
// a failure, the batch is still there: it is written carefully, and what was gathered meanwhile is gathered once more.
#pragma once

#include <future>

#include "dead_letters.hpp"
#include "encode.hpp"

namespace walign::apply {

// What one target transaction, or a piece of one, is to say.
struct Outgoing {
  const std::vector<Execution>* executions = nullptr;
  std::vector<Extra> extra;
  bool opens = false;
  Lsn from;  // of the position
  Lsn to;    // committed there; 0: not yet
};
struct Answer {
  std::vector<pg::Result> results;
  std::size_t first = 0;  // the executions' are from here on
  double seconds = 0;
};

// What was gathered, with its books.
struct Batch {
  std::vector<event::TransactionPart> parts;
  std::vector<std::vector<Exception>> exceptions;  // of each part
  std::vector<std::vector<Extra>> extra;           // of each part
  std::size_t bytes = 0;
  std::uint64_t changes = 0;
  std::vector<Books> books;
  std::uint64_t transactions = 0;
  std::int64_t commit_time_us = 0;
};

struct Applier::Impl {
  Impl(Options o, std::vector<mapping::Route> r);

  // ---- batches
  static constexpr std::size_t kAll = std::numeric_limits<std::size_t>::max();
  void add(event::TransactionPart part, std::vector<Exception> its_exceptions, std::vector<Extra> its_extra);
  void gather(event::TransactionPart part, std::vector<Exception> its_exceptions,
              std::vector<Extra> its_extra);
  [[nodiscard]] bool any_extra() const;
  void add_change(std::size_t part, int index);
  // What a change means for one route; nothing where a copy of old rows has it.
  std::optional<SingleChange> meaning(std::size_t part, int index, const Binding& binding);
  bool dropped(std::size_t part, int index, const Binding& binding) const;
  void add_truncate(std::size_t part, int index);
  void bind_all(const event::TransactionPart& part);
  // The step that sets a change aside, if its key has a dead letter. From then on all its keys have one.
  std::optional<QueueStep> queued(const SingleChange& change, const v1::Change& event, std::size_t part);
  TruncateStep truncate_step(std::size_t part, int index);
  // `wait`: until all of it is committed; else it may be handed over.
  void flush(bool wait);
  std::optional<std::vector<Execution>> encode_batch();  // nothing where the data does not allow it
  void hand_over(std::vector<Execution> executions, Lsn commit_at);
  // Takes the answer to what was handed over. False: that had failed, and what was gathered is gathered again.
  bool settle();
  Batch put_aside();
  void resume(Batch batch);
  void gather_again(Batch batch);
  std::vector<Execution> encode(const std::vector<Step>& steps, Updates updates);
  void append_aside(const QueueStep& step, std::vector<Execution>& out);
  void append_moot(const TruncateStep& truncate, std::vector<Execution>& out);
  // Sends the executions, opening a transaction if none is open, committing at `commit_at` if it is valid.
  void write(const std::vector<Execution>& executions, Lsn commit_at);
  Outgoing outgoing(const std::vector<Execution>& executions, Lsn commit_at) const;
  Answer send(const Outgoing& out);  // touches nothing but the connection and what it has prepared
  void written(const Outgoing& out, const Answer& answer);
  void flushed_to(Lsn target_lsn);
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
  std::vector<std::vector<Extra>> extra;           // of each part
  std::size_t extra_from = 0, extra_to = kAll;  // of which parts it goes into the transaction that is written
  bool extra_sent = false;                      // in the transaction that is open
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
  std::uint64_t statements_sent = 0;
  std::vector<FlushStats> flushes;

  // A batch on its way.
  struct HandedOver {
    ~HandedOver() { wait(); }
    void wait() const;  // for the answer, with a pulse: it may be long in coming
    Batch batch;
    std::vector<Execution> executions;
    Outgoing out;
    std::future<Answer> answer;
  };
  std::unique_ptr<HandedOver> handed_over;  // last: it uses the connection
};

// Whether a statement failed for the data it was given, so that another way may succeed or a row be set aside.
bool is_data_error(const Error& error);

}  // namespace walign::apply
