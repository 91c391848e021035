// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// One session: from connecting to whatever ends it. Everything that it has in memory is good until then, and
// nothing of it after: the next session starts from the target's position.
#pragma once

#include "begin.hpp"
#include "board.hpp"
#include "companions.hpp"
#include "journalling.hpp"
#include "policy.hpp"
#include "shapes.hpp"
#include "walign/crosswalk.hpp"

namespace walign::stream {

// What survives from one session to the next.
struct Carried {
  Made made;
  Until until;     // caught_up becomes an LSN once
  Lsn careful_at;  // a transaction to apply row by row
  std::set<pg::Oid> ignored_relations;
  std::set<pg::Oid> asked_relations;  // the catalogs were read again for these
  // And for these, by what is strange about them, and where: a table can get the same shape once more.
  std::map<std::pair<pg::Oid, std::string>, Lsn> asked_shapes;
  std::optional<ShapeUnknown> shape_asked;  // the session that begins now is for this one
  Lsn position;                             // the target's, as the last session found or left it
  bool made_progress = false;               // the target's position moved since the last failure
  std::unique_ptr<Journalling> journal;
};

// Thrown where the next session must know something new; nothing is wrong.
struct BeginAgain {};

class Session {
 public:
  // `soft`: stop between batches. `hard`: give up waiting for the servers.
  Session(const Options& options, state::Store& store, Board& board, Carried& carried, const Interrupt& hard);

  // Returns when `until` is reached or `soft` is raised, after everything applied is durable, saved and
  // acknowledged. Throws Error, BeginAgain, ShapeUnknown, apply::ReadAgain, apply::UnknownRelation.
  void run();

 private:
  void connect();
  bool may_alter(pg::Connection& target);
  void note_written_anew();
  void loop();
  bool take(source::Item item);  // false: the run's end is before it
  event::TransactionPart brought_up(event::TransactionPart part);
  void gather(event::TransactionPart part);
  // The other direction's turn: nothing of it is written but what the turn says itself.
  void pass_over(event::TransactionPart part, Turn::Heard heard);
  // False: it is to rest. Asks again where the stream stands before it goes on.
  bool may_go_on();
  [[nodiscard]] bool listening() const { return options_.turn != nullptr && options_.turn->listening(); }
  // The same while rows are copied beside the stream: through the gate, and judged.
  void take_judged(event::TransactionPart part, std::vector<apply::Extra> extra);
  Xid pass_gate(std::uint32_t xid, Lsn commit_lsn);
  // What the stream would bring next, if that is known: everything that committed before it was delivered.
  struct Next {
    Xid xid;
    Lsn commit_lsn;
  };
  // Between two looks at something that is not so yet: writes what was gathered, keeps house.
  void meanwhile(const Next& next);
  void tell_companions(std::optional<Next> next);
  void store(Lsn progress);
  void flush();
  // The same, but the next batch is gathered while this one is written, where nobody must know when it is.
  void hand_over();
  void wrote();  // something, or something before it
  [[nodiscard]] bool wanted_between() const;
  bool idle();  // nothing came for a while; false: the run's end is here
  void housekeeping(bool force);
  void checkpoint();
  void store_progress(bool force);
  void open_crosswalk();
  void tend_keys();
  void acknowledge(Lsn position);
  void finish();
  void publish();
  void note_progress();
  void find_end();
  [[nodiscard]] Lsn applied() const;
  [[nodiscard]] apply::Books books(const mapping::Route& route) const;
  [[nodiscard]] std::uint64_t transactions() const;

  const Options& options_;
  Companions companions_;
  state::Store& store_;
  Board& board_;
  Carried& carried_;
  const Interrupt& hard_;

  Prepared prepared_;
  std::unique_ptr<Shapes> shapes_;
  std::vector<apply::RelationShape> followed_;  // with the filenodes that the target knows
  std::vector<pg::Oid> partitions_;             // of the mapped tables, when the session began
  std::unique_ptr<pg::Connection> source_sql_;
  std::unique_ptr<apply::Applier> applier_;
  std::unique_ptr<apply::Crosswalk> crosswalk_;  // of a way back that gives rows their keys
  std::unique_ptr<source::Source> source_;
  Snapshot gate_;  // made after the newest transaction that was taken was received
  void tell_listening();
  bool told_listening_ = false;
  Lsn progress_;           // of keepalives and what was passed over: everything below was delivered
  Lsn saved_;              // newest checkpoint
  v1::Checkpoint before_;  // the newest checkpoint when the session began: what it counts on from
  std::chrono::steady_clock::time_point last_housekeeping_;
  std::chrono::steady_clock::time_point last_stored_;
  std::chrono::steady_clock::time_point last_flush_;
  std::chrono::steady_clock::time_point last_watched_;  // the publications
  std::chrono::steady_clock::time_point last_nudge_;
};

}  // namespace walign::stream
