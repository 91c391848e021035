// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The state directory around the database: that it is there, that it is walign's, and whose. Nothing in
// it is touched before all of that is known.
#pragma once

#include "state/format.hpp"

namespace walign::state {

// Makes the directory (0700; missing parents 0755) and its `format` file where there is nothing yet;
// checks them where there is, and says there that it is of this format now. Error(precondition) or Error(storage).
void prepare_directory(const std::string& directory, const std::string& migration, unsigned format = kFormat);

// For a reader: that there is a state directory that this program can read. Changes nothing.
void check_directory(const std::string& directory);

// The database's own directory inside it.
std::string database_path(const std::string& directory);

// Whether there is no database yet, or one whose making was cut short before it held anything.
bool database_is_new(const std::string& directory);

// What must stay free where much is written: RocksDB aborts on a disk without any room.
constexpr std::uint64_t kRoomBytes = 64U << 20U;

// Error(storage) where the disk has less than `bytes` left for this user.
void require_room(const std::string& directory, std::uint64_t bytes);

// The sum of the files' sizes; files that come and go meanwhile may be missing from it.
std::uint64_t directory_bytes(const std::string& directory);

// The process that holds the lock on the database, 0 where that cannot be seen.
int lock_holder(const std::string& directory);

// What a failed system call on `path` means to an operator.
Error os_error(std::string_view doing, const std::string& path, int error_number);

}  // namespace walign::state
