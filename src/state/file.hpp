// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// Files and directories that are to outlive a power loss.
#pragma once

#include <sys/types.h>

#include "walign/base.hpp"

namespace walign::state {

// An open file. Everything throws os_error() with its path.
class File {
 public:
  // `flags` and `mode` as for open(2); O_CLOEXEC is added.
  File(const std::string& path, int flags, mode_t mode = 0);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  void write(std::string_view bytes) const;  // all of them
  // Up to `count` bytes from `offset`: fewer at the end of the file.
  [[nodiscard]] std::string read(std::uint64_t offset, std::size_t count) const;
  [[nodiscard]] std::uint64_t size() const;
  void truncate(std::uint64_t size) const;
  void sync() const;
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_;
};

// So that entries made or removed in it stay so. Some file systems cannot; that is not an error.
void sync_directory(const std::string& path);
// Makes it (0700) and what is missing above it (0755).
void make_directories(const std::string& path);

}  // namespace walign::state
