// Messages of pgoutput, protocol versions 1 to 4, made by hand for tests. Shares nothing with walign::decode,
// so that a mistake there cannot hide here. Values that the protocol does not allow can be made too.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wire {

// ------------------------------------------------------------------------------------------- fields

// The low `count` bytes of value, the highest first.
inline std::string integer(std::uint64_t value, int count) {
  std::string out;
  for (int shift = 8 * (count - 1); shift >= 0; shift -= 8) out += static_cast<char>((value >> shift) & 0xFF);
  return out;
}
inline std::string u8(std::uint64_t value) { return integer(value, 1); }
inline std::string u16(std::uint64_t value) { return integer(value, 2); }
inline std::string u32(std::uint64_t value) { return integer(value, 4); }
inline std::string u64(std::uint64_t value) { return integer(value, 8); }
inline std::string cstring(std::string_view text) { return std::string(text) + '\0'; }

// ---------------------------------------------------------------------------------------------- rows

// One column's value as it stands in a row.
inline std::string null() { return "n"; }
inline std::string unchanged() { return "u"; }
inline std::string text(std::string_view value) { return "t" + u32(value.size()) + std::string(value); }
inline std::string binary(std::string_view value) { return "b" + u32(value.size()) + std::string(value); }

using Row = std::vector<std::string>;

inline std::string row(const Row& values) {
  std::string out = u16(values.size());
  for (const std::string& value : values) out += value;
  return out;
}

// ------------------------------------------------------------------------------------------ messages
// Times are microseconds since 2000-01-01, as PostgreSQL sends them.

inline std::string begin(std::uint64_t commit_lsn, std::int64_t time, std::uint32_t xid) {
  return "B" + u64(commit_lsn) + u64(static_cast<std::uint64_t>(time)) + u32(xid);
}
inline std::string commit(std::uint64_t commit_lsn, std::uint64_t end_lsn, std::int64_t time, int flags = 0) {
  return "C" + u8(static_cast<std::uint64_t>(flags)) + u64(commit_lsn) + u64(end_lsn) +
         u64(static_cast<std::uint64_t>(time));
}
inline std::string origin(std::uint64_t lsn, std::string_view name) { return "O" + u64(lsn) + cstring(name); }

struct Column {
  std::string name;
  std::uint32_t type = 25;  // text
  bool identity = false;
  std::int32_t modifier = -1;
};
inline std::string relation(std::uint32_t oid, std::string_view schema, std::string_view name, char identity,
                            const std::vector<Column>& columns) {
  std::string out = "R" + u32(oid) + cstring(schema) + cstring(name) + identity + u16(columns.size());
  for (const Column& column : columns) {
    out += u8(column.identity ? 1 : 0) + cstring(column.name) + u32(column.type) +
           u32(static_cast<std::uint32_t>(column.modifier));
  }
  return out;
}
inline std::string type(std::uint32_t oid, std::string_view schema, std::string_view name) {
  return "Y" + u32(oid) + cstring(schema) + cstring(name);
}
inline std::string insert(std::uint32_t oid, const Row& new_row) {
  return "I" + u32(oid) + "N" + row(new_row);
}
inline std::string update(std::uint32_t oid, const Row& new_row) {
  return "U" + u32(oid) + "N" + row(new_row);
}
// kind: 'K' for a row with the key only, 'O' for a whole one.
inline std::string update(std::uint32_t oid, char kind, const Row& old_row, const Row& new_row) {
  return "U" + u32(oid) + kind + row(old_row) + "N" + row(new_row);
}
inline std::string remove(std::uint32_t oid, char kind, const Row& old_row) {
  return "D" + u32(oid) + kind + row(old_row);
}
// options: 1 cascade, 2 restart identity.
inline std::string truncate(const std::vector<std::uint32_t>& oids, int options = 0) {
  std::string out = "T" + u32(oids.size()) + u8(static_cast<std::uint64_t>(options));
  for (const std::uint32_t oid : oids) out += u32(oid);
  return out;
}
inline std::string message(bool transactional, std::uint64_t lsn, std::string_view prefix,
                           std::string_view content) {
  return "M" + u8(transactional ? 1 : 0) + u64(lsn) + cstring(prefix) + u32(content.size()) +
         std::string(content);
}

// --------------------------------------------------------------------------------- later versions

// A message of the first version as it stands inside a stream block.
inline std::string in_block(std::uint32_t xid, const std::string& message) {
  return message.substr(0, 1) + u32(xid) + message.substr(1);
}
inline std::string stream_start(std::uint32_t xid, int first) {
  return "S" + u32(xid) + u8(static_cast<std::uint64_t>(first));
}
inline std::string stream_stop() { return "E"; }
inline std::string stream_commit(std::uint32_t xid, std::uint64_t commit_lsn, std::uint64_t end_lsn,
                                 std::int64_t time, int flags = 0) {
  return "c" + u32(xid) + u8(static_cast<std::uint64_t>(flags)) + u64(commit_lsn) + u64(end_lsn) +
         u64(static_cast<std::uint64_t>(time));
}
inline std::string stream_abort(std::uint32_t xid, std::uint32_t subxid) {
  return "A" + u32(xid) + u32(subxid);
}
inline std::string stream_abort(std::uint32_t xid, std::uint32_t subxid, std::uint64_t lsn,
                                std::int64_t time) {
  return stream_abort(xid, subxid) + u64(lsn) + u64(static_cast<std::uint64_t>(time));
}
// Begin Prepare.
inline std::string begin_prepare(std::uint64_t prepare_lsn, std::uint64_t end_lsn, std::int64_t time,
                                 std::uint32_t xid, std::string_view gid) {
  return "b" + u64(prepare_lsn) + u64(end_lsn) + u64(static_cast<std::uint64_t>(time)) + u32(xid) +
         cstring(gid);
}
// tag: 'P' Prepare, 'p' Stream Prepare, 'K' Commit Prepared.
inline std::string prepared(char tag, std::uint64_t lsn, std::uint64_t end_lsn, std::int64_t time,
                            std::uint32_t xid, std::string_view gid, int flags = 0) {
  return tag + u8(static_cast<std::uint64_t>(flags)) + begin_prepare(lsn, end_lsn, time, xid, gid).substr(1);
}
inline std::string rollback_prepared(std::uint64_t prepare_end_lsn, std::uint64_t end_lsn,
                                     std::int64_t prepare_time, std::int64_t rollback_time, std::uint32_t xid,
                                     std::string_view gid, int flags = 0) {
  return "r" + u8(static_cast<std::uint64_t>(flags)) + u64(prepare_end_lsn) + u64(end_lsn) +
         u64(static_cast<std::uint64_t>(prepare_time)) + u64(static_cast<std::uint64_t>(rollback_time)) +
         u32(xid) + cstring(gid);
}

}  // namespace wire
