// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// decide_start(): whose servers and directory these are, then what the slot can still give, then the
// positions. Refusals that last come before the one that passes (a slot that is being read), so that
// nothing hopeless is retried.
#include "walign/state.hpp"

namespace walign::state {

namespace {

// What lets a stream begin again that cannot go on. The way out is always the same; the reason never is.
constexpr const char* kBeginAgain =
    "begin again: `walign remove`, then `walign run` (existing_rows: says what becomes of the rows "
    "that the target has by now)";
constexpr const char* kOtherDirectory =
    "if this is the right target, move the state directory away and start again (it is written anew "
    "from the target); otherwise set target: or state: to what belongs together";

[[noreturn]] void refuse(std::string message, std::string hint, Lsn at = {}) {
  throw Error(ErrorKind::precondition, std::move(message), std::move(hint)).at(at);
}

std::string make_slot(const StartFacts& facts) {
  return cat("in database ", facts.source_database, ": SELECT pg_create_logical_replication_slot('",
             facts.slot_name, "', 'pgoutput')");
}

std::string begin_again(const StartFacts& facts) {
  if (!facts.slot_is_brought) return kBeginAgain;
  return cat(kBeginAgain, "; the slot must be a new one (", make_slot(facts), ")");
}

std::string drop_slot(const StartFacts& facts) {
  return cat("SELECT pg_drop_replication_slot('", facts.slot_name, "')");
}

// ------------------------------------------------------------------------------------ whose is whose

// With a position, the timeline matters: what one timeline wrote past the fork, the other one never had.
void check_source_of_target(const StartFacts& facts) {
  const TargetFacts& target = *facts.target;
  if (target.source_system_id != facts.source_system_id) {
    refuse(cat("this stream's source has system identifier ", target.source_system_id,
               ", the server that source: names has ", facts.source_system_id),
           "set source: to the server that this migration began with; to move from another one, give the "
           "migration another name");
  }
  if (target.source_database != facts.source_database) {
    refuse(cat("this stream's source is database ", target.source_database, ", source: names ",
               facts.source_database),
           cat("set source: to database ", target.source_database,
               "; to move from another one, give the migration another name"));
  }
  if (target.slot != facts.slot_name) {
    refuse(cat("this stream reads slot ", target.slot, ", the configuration names ", facts.slot_name),
           cat("set slot: to ", target.slot, "; to use another slot, ", kBeginAgain));
  }
  if (target.position.valid() && target.source_timeline != facts.source_timeline) {
    refuse(cat("the source is on timeline ", facts.source_timeline, ", the target was written from timeline ",
               target.source_timeline,
               ": the source failed over or was restored, and may lack what the target has"),
           begin_again(facts), target.position);
  }
}

void check_store(const StartFacts& facts) {
  const v1::Identity& store = facts.store->identity;
  if (store.target_system_id() != facts.target_system_id ||
      store.target_database() != facts.target_database) {
    refuse(cat("the state directory belongs to target database ", store.target_database(),
               " of the server with system identifier ", store.target_system_id(), ", target: names ",
               facts.target_database, " of ", facts.target_system_id),
           kOtherDirectory);
  }
  if (store.source_system_id() != facts.source_system_id ||
      store.source_database() != facts.source_database) {
    refuse(cat("the state directory belongs to source database ", store.source_database(),
               " of the server with system identifier ", store.source_system_id(), ", source: names ",
               facts.source_database, " of ", facts.source_system_id),
           "set source: or state: to what belongs together");
  }
  if (!facts.store->durable.valid()) return;  // nothing was streamed: the rest is written anew
  if (store.slot() != facts.slot_name) {
    refuse(cat("the state directory belongs to slot ", store.slot(), ", this stream reads ", facts.slot_name),
           kOtherDirectory);
  }
  if (store.source_timeline() != facts.source_timeline) {
    refuse(cat("the source is on timeline ", facts.source_timeline,
               ", the state directory was written from timeline ", store.source_timeline()),
           kOtherDirectory);
  }
}

// -------------------------------------------------------------------------------------------- the slot

// A slot that pgoutput can be read from in this database, and that a crash does not take away.
void check_slot_kind(const StartFacts& facts, const std::string& other) {
  const SlotFacts& slot = *facts.slot;
  if (slot.plugin.empty()) refuse(cat("slot ", slot.name, " is a physical slot"), other);
  if (slot.plugin != "pgoutput") {
    refuse(cat("slot ", slot.name, " has output plugin ", slot.plugin, ", not pgoutput"), other);
  }
  if (slot.database != facts.source_database) {
    refuse(cat("slot ", slot.name, " belongs to database ", slot.database, ", not ", facts.source_database),
           other);
  }
  if (slot.temporary) refuse(cat("slot ", slot.name, " is temporary: it ends with its session"), other);
  if (slot.two_phase) {
    refuse(cat("slot ", slot.name, " is two-phase: what a PREPARE brought never comes again after a crash"),
           other);
  }
}

void check_not_lost(const StartFacts& facts, const std::string& hint) {
  if (facts.slot->wal_status != "lost") return;
  refuse(cat("slot ", facts.slot->name,
             " was invalidated (wal_status lost): the source has removed WAL that this stream still "
             "needed"),
         cat("raise max_slot_wal_keep_size on the source, then ", hint),
         facts.target ? facts.target->position : Lsn());
}

void check_not_read(const StartFacts& facts) {
  const SlotFacts& slot = *facts.slot;
  if (slot.active_pid == 0) return;
  throw Error(
      ErrorKind::transient,
      cat("slot ", slot.name, " is being read by the source's process ", slot.active_pid),
      cat("after a crash or a cut connection this is our own old one, and ends by itself; otherwise see "
          "who it is (SELECT * FROM pg_stat_activity WHERE pid = ",
          slot.active_pid, ") and stop that program, or SELECT pg_terminate_backend(", slot.active_pid, ")"));
}

std::string slot_note(const StartFacts& facts) {
  if (facts.slot->wal_status != "unreserved") return {};
  return cat(
      "slot ", facts.slot->name,
      " is behind what the source keeps (wal_status unreserved) and may be lost at its next checkpoint");
}

// --------------------------------------------------------------------------------------- the beginnings

Start adopt(const StartFacts& facts) {
  if (!facts.slot) {
    refuse(cat("slot ", facts.slot_name, ", which slot: names, does not exist on the source"),
           cat("make it (", make_slot(facts), "), or remove slot: so that walign makes its own"));
  }
  check_slot_kind(facts, cat("make another one and name it in slot:; ", make_slot(facts)));
  check_not_lost(facts, cat("make the slot again: ", drop_slot(facts), "; ", make_slot(facts)));
  check_not_read(facts);
  if (!facts.slot->confirmed_flush.valid()) {
    refuse(cat("slot ", facts.slot_name, " was never finished: it has no position"),
           cat("make it again: ", drop_slot(facts), "; ", make_slot(facts)));
  }
  Start start;
  start.action = Start::Action::adopt;
  start.from = facts.slot->confirmed_flush;
  start.note = slot_note(facts);
  return start;
}

Start begin_without_row(const StartFacts& facts) {
  if (facts.slot_is_brought) return adopt(facts);
  if (facts.slot) {
    // The row is written before the slot is made: without a row, a slot of this name is nobody we know.
    refuse(cat("slot ", facts.slot_name, " exists on the source, but the target has no stream that reads it"),
           cat("if nothing else needs it: ", drop_slot(facts),
               "; to stream from it, set slot: ", facts.slot_name));
  }
  return {};
}

Start begin_with_row(const StartFacts& facts) {
  if (facts.slot_is_brought) return adopt(facts);
  Start start;
  if (!facts.slot) {
    start.note = "an earlier start ended before its slot was made";
    return start;
  }
  check_slot_kind(facts, cat("if nothing else needs it: ", drop_slot(facts),
                             "; otherwise give the migration another name"));
  check_not_read(facts);
  start.action = Start::Action::recreate;
  start.note = cat("an earlier start ended while slot ", facts.slot_name, " was being made");
  return start;
}

Start begin(const StartFacts& facts) {
  const bool has_history = facts.store && facts.store->durable.valid();
  if (has_history) {
    const std::string seen =
        facts.target ? "the target's stream has no position" : "the target has no stream of this name";
    refuse(cat(seen, ", the state directory reaches ", facts.store->durable,
               ": the target went back in time, or its schema walign was dropped"),
           begin_again(facts), facts.store->durable);
  }
  return facts.target ? begin_with_row(facts) : begin_without_row(facts);
}

// ------------------------------------------------------------------------------------------ going on

// Nothing to be found in it leads across a change of sides: the journal is emptied then.
bool may_go_back(const StartFacts& facts) {
  if (!facts.store) return false;
  const std::string& phase = facts.store->phase;
  return phase == "new" || phase == "backfilling" || phase == "streaming";
}

// All that lies between the target's position and the journal's end is there, and the slot has what follows.
bool journal_reaches(const StartFacts& facts) {
  const Lsn position = facts.target->position;
  return facts.journal && may_go_back(facts) && facts.journal->from <= position &&
         position <= facts.journal->to && facts.slot && facts.slot->confirmed_flush.valid() &&
         facts.slot->confirmed_flush <= facts.journal->to;
}

bool target_is_behind_store(const StartFacts& facts) {
  return facts.store && facts.store->durable > facts.target->position;
}

// For a refusal: why not from the journal.
std::string journal_text(const StartFacts& facts) {
  if (!facts.journal) return "; the journal is empty";
  if (!facts.store) return "; whose its journal is, the state directory does not say";
  if (!may_go_back(facts)) return cat("; the sides are being changed (phase ", facts.store->phase, ")");
  const JournalFacts& journal = *facts.journal;
  const bool has = journal.from <= facts.target->position && facts.target->position <= journal.to;
  return cat("; the journal goes from ", journal.from, " to ", journal.to,
             has ? ", and the slot does not go on there" : "");
}

std::string older_backup(const StartFacts& facts) {
  if (!facts.journal || !may_go_back(facts)) return begin_again(facts);
  return cat(
      "restore the target to a position that the journal has (`walign checkpoints list` shows them; journal: "
      "{keep, keep_for} says how much is kept), or ",
      begin_again(facts));
}

// The target went back in time, further than the journal helps. As long as the slot was not told to move on, it still
// has the rest.
[[noreturn]] void refuse_behind_store(const StartFacts& facts) {
  const Lsn position = facts.target->position;
  const bool slot_reaches = facts.slot && facts.slot->confirmed_flush.valid() &&
                            facts.slot->confirmed_flush <= position && facts.slot->wal_status != "lost";
  refuse(cat("the target went back in time: it is at ", position, ", and was at ", facts.store->durable,
             " when the state directory was last written", journal_text(facts)),
         slot_reaches ? cat("was it restored or failed over? The slot still has all since ",
                            facts.slot->confirmed_flush, ": if you trust the target as it was at ", position,
                            ", move the state directory away and start again; otherwise ", begin_again(facts))
                      : older_backup(facts),
         position);
}

void check_slot_is_whole(const StartFacts& facts) {
  const Lsn position = facts.target->position;
  if (!facts.slot) {
    refuse(cat("slot ", facts.slot_name, " is gone from the source, and with it what came after ", position),
           begin_again(facts), position);
  }
  check_slot_kind(facts, begin_again(facts));
  check_not_lost(facts, begin_again(facts));
}

void check_slot_reaches(const StartFacts& facts) {
  const Lsn position = facts.target->position;
  if (facts.slot->confirmed_flush <= position) return;
  refuse(
      cat("slot ", facts.slot_name, " has moved on to ", facts.slot->confirmed_flush, ", the target is at ",
          position, ": the source would silently leave out what lies between", journal_text(facts)),
      older_backup(facts), position);
}

void check_source_reaches(const StartFacts& facts) {
  const Lsn position = facts.target->position;
  const Lsn known = facts.journal ? std::max(position, facts.journal->to) : position;
  if (!facts.source_flushed.valid() || facts.source_flushed >= known) return;
  refuse(cat("the source went back in time: its WAL ends at ", facts.source_flushed, ", the ",
             known == position ? "target" : "journal", " has it up to ", known),
         begin_again(facts), position);
}

// Where the journal and the slot meet.
void find_stream_from(const StartFacts& facts, bool from_journal, Start& start) {
  start.stream_from = start.from;
  if (from_journal) {
    start.stream_from = facts.journal->to;
    return;
  }
  // What the journal lacks must still be in the slot, or it would have a hole.
  start.begin_journal = !facts.journal || facts.slot->confirmed_flush > facts.journal->to;
  if (!start.begin_journal) start.stream_from = std::min(start.from, facts.journal->to);
}

std::string resume_note(const StartFacts& facts, const Start& start) {
  const Lsn durable = facts.store ? facts.store->durable : Lsn();
  const std::string store_at =
      durable.valid() ? cat("the state directory is at ", durable) : "the state directory is new";
  if (start.stream_from > start.from) {
    return cat("the target went back in time: it is at ", start.from, ", ", store_at,
               "; it is caught up from the journal, which goes to ", start.stream_from);
  }
  const std::string note = slot_note(facts);
  return start.rebuild_store && note.empty() ? cat(store_at, ", the target at ", start.from) : note;
}

Start resume(const StartFacts& facts) {
  const Lsn position = facts.target->position;
  const bool behind = target_is_behind_store(facts);
  const bool reaches = journal_reaches(facts);
  if (behind && !reaches) refuse_behind_store(facts);
  check_slot_is_whole(facts);
  const bool from_journal = behind || (reaches && facts.slot->confirmed_flush > position);
  if (!from_journal) check_slot_reaches(facts);
  check_source_reaches(facts);
  check_not_read(facts);
  // Somebody began to make a slot of this name: ours had a position before the target's row had one.
  if (!facts.slot->confirmed_flush.valid()) {
    refuse(cat("slot ", facts.slot_name,
               " was made again and never finished: it does not have what came after ", position),
           begin_again(facts), position);
  }
  Start start;
  start.action = Start::Action::resume;
  start.from = position;
  find_stream_from(facts, from_journal, start);
  start.rewound = behind;
  start.mapping_changed = facts.mapping_hash != facts.target->mapping_hash;
  start.rebuild_store = !facts.store || facts.store->durable != position;
  start.note = resume_note(facts, start);
  return start;
}

}  // namespace

Start decide_start(const StartFacts& given) {
  StartFacts facts = given;
  if (facts.store && facts.store->identity.source_system_id().empty() && !facts.store->durable.valid()) {
    facts.store.reset();  // made, and ended before its identity was written
  }
  if (facts.target) check_source_of_target(facts);
  if (facts.store) check_store(facts);
  return facts.target && facts.target->position.valid() ? resume(facts) : begin(facts);
}

}  // namespace walign::state
