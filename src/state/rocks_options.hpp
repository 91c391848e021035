// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// RocksDB's settings and its errors, in our terms.
#pragma once

#include <rocksdb/options.h>
#include <rocksdb/status.h>

#include "walign/base.hpp"

namespace walign::state {

constexpr std::size_t kMiB = 1024 * 1024;

rocksdb::DBOptions database_options();
rocksdb::ColumnFamilyOptions family_options();
// Keeps a reader from writing a log of its own into a directory that belongs to somebody else.
std::shared_ptr<rocksdb::Logger> no_log();

// What a status that is not ok means to an operator.
Error rocks_error(const std::string& directory, std::string_view doing, const rocksdb::Status& status);

}  // namespace walign::state
