// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "state/directory.hpp"

namespace walign::state {

namespace fs = std::filesystem;

File::File(const std::string& path, int flags, mode_t mode)
    : path_(path), fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {
  if (fd_ < 0) throw os_error("open", path_, errno);
}

File::~File() { ::close(fd_); }

void File::write(std::string_view bytes) const {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw os_error("write", path_, errno);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::string File::read(std::uint64_t offset, std::size_t count) const {
  std::string bytes(std::min<std::uint64_t>(count, size() - std::min(offset, size())), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got =
        ::pread(fd_, bytes.data() + have, bytes.size() - have, static_cast<off_t>(offset + have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw os_error("read", path_, errno);
    if (got == 0) break;
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

std::uint64_t File::size() const {
  struct stat info = {};
  if (::fstat(fd_, &info) != 0) throw os_error("look at", path_, errno);
  return static_cast<std::uint64_t>(info.st_size);
}

void File::truncate(std::uint64_t size) const {
  if (::ftruncate(fd_, static_cast<off_t>(size)) != 0) throw os_error("truncate", path_, errno);
}

void File::sync() const {
  if (::fsync(fd_) != 0) throw os_error("sync", path_, errno);
}

// EINVAL: the file system cannot.
void sync_directory(const std::string& path) {
  const File directory(path, O_RDONLY | O_DIRECTORY);
  if (::fsync(directory.fd()) != 0 && errno != EINVAL) throw os_error("sync", path, errno);
}

namespace {

std::string parent_of(const std::string& path) {
  const auto parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

void make_directory(const std::string& path, mode_t mode) {
  if (::mkdir(path.c_str(), mode) != 0) {
    if (errno == EEXIST) return;
    throw os_error("make directory", path, errno);
  }
  try {
    sync_directory(parent_of(path));
  } catch (const Error&) {
    // One may be allowed to make a directory and not to open its parent. If a power loss takes the new
    // one back, the next start makes it again.
  }
}

}  // namespace

void make_directories(const std::string& path) {
  std::vector<std::string> missing;
  std::error_code ignored;
  for (std::string at = parent_of(path); !fs::exists(at, ignored); at = parent_of(at)) missing.push_back(at);
  for (auto it = missing.rbegin(); it != missing.rend(); ++it) make_directory(*it, 0755);
  make_directory(path, 0700);
}

}  // namespace walign::state
