// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/rocks_options.hpp"

#include <rocksdb/cache.h>
#include <rocksdb/env.h>
#include <rocksdb/table.h>

#include "state/directory.hpp"

namespace walign::state {

namespace {

class NoLog final : public rocksdb::Logger {
 public:
  using rocksdb::Logger::Logv;
  void Logv(const char* /*format*/, va_list /*arguments*/) override {}
};

bool mentions(const std::string& text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(),
                     [&](const char* word) { return text.find(word) != std::string::npos; });
}

Error held(const std::string& directory) {
  const int pid = lock_holder(directory);
  return {ErrorKind::precondition,
          pid > 0 ? cat("state directory ", directory, " is held by process ", pid)
                  : cat("state directory ", directory, " is held by another process"),
          "a walign runs on it: `walign status` talks to that one; stop it before starting another"};
}

Error damaged(const std::string& directory, const std::string& message) {
  return {ErrorKind::storage, message,
          cat("move ", directory, " away (mv ", directory, " ", directory,
              ".damaged) and run again: it is written anew from the target; what is lost is the history "
              "of saved positions")};
}

}  // namespace

rocksdb::DBOptions database_options() {
  rocksdb::DBOptions options;
  options.create_missing_column_families = true;
  // After a power loss the log may end in half a record: that one's put never returned, so nobody has
  // relied on it. Damage before the end is refused: point-in-time recovery would silently give up
  // positions that were acknowledged, and with them the proof that the target went back in time.
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  // The rarely written families would keep old logs alive.
  options.max_total_wal_size = 8 * kMiB;
  // The whole program has 256 MiB; a few small records a second need next to nothing of that.
  options.db_write_buffer_size = 8 * kMiB;
  options.max_background_jobs = 2;
  options.max_file_opening_threads = 1;
  options.max_manifest_file_size = 4 * kMiB;
  options.skip_stats_update_on_db_open = true;
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.max_log_file_size = kMiB;
  options.keep_log_file_num = 2;
  return options;
}

rocksdb::ColumnFamilyOptions family_options() {
  static const auto cache = rocksdb::NewLRUCache(8 * kMiB, 1);
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = 4 * kMiB;
  options.max_write_buffer_number = 2;
  options.target_file_size_base = 4 * kMiB;
  options.max_bytes_for_level_base = 16 * kMiB;
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

std::shared_ptr<rocksdb::Logger> no_log() { return std::make_shared<NoLog>(); }

Error rocks_error(const std::string& directory, std::string_view doing, const rocksdb::Status& status) {
  const std::string text = status.ToString();
  const std::string message = cat("state directory ", directory, ": cannot ", doing, ": ", text);
  if (status.IsIOError() && mentions(text, {"lock hold by current process", "While lock file"})) {
    return held(directory);
  }
  if (status.IsNoSpace() || mentions(text, {"No space left", "quota exceeded"})) {
    return {ErrorKind::storage, message,
            "make room on that disk and start again: walign goes on from the target's position"};
  }
  if (mentions(text, {"Permission denied", "Operation not permitted", "Read-only file system"})) {
    return {ErrorKind::precondition, message,
            "let the user that runs walign own the directory and all in it, on a disk that can be written"};
  }
  if (status.IsInvalidArgument() && mentions(text, {"families not opened"})) {
    return {ErrorKind::precondition, message, "a newer walign wrote it: run that one"};
  }
  if (mentions(text, {"Too many open files"})) {
    return {ErrorKind::storage, message, "raise the limit of open files (ulimit -n) and start again"};
  }
  return damaged(directory, message);
}

}  // namespace walign::state
