// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "state/directory.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "state/file.hpp"

namespace walign::state {

namespace fs = std::filesystem;

namespace {

constexpr const char* kTitle = "walign state directory";
constexpr const char* kMarkerName = "format";
constexpr const char* kNewMarkerName = "format.new";  // being written; nothing else can be there yet

struct Marker {
  std::uint64_t format = 0;
  std::string migration;
};

// Without a slash at its end, so that the parent of "a/b/" is "a".
std::string trimmed(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

bool is_file(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// Whether nobody has put anything here: lost+found is what a file system's own root has.
bool has_nothing(const std::string& directory) {
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const auto name = it->path().filename();
    if (name != "lost+found" && name != kNewMarkerName) return false;
  }
  if (error) throw os_error("read directory", directory, error.value());
  return true;
}

std::string marker_path(const std::string& directory) { return cat(directory, "/", kMarkerName); }

void write_marker(const std::string& directory, const std::string& migration, unsigned format) {
  const std::string fresh = cat(directory, "/", kNewMarkerName);
  {
    const File file(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    file.write(cat(kTitle, "\nformat: ", format, "\nmigration: ", migration, "\n"));
    file.sync();
  }
  if (::rename(fresh.c_str(), marker_path(directory).c_str()) != 0) {
    throw os_error("rename", fresh, errno);
  }
  sync_directory(directory);
}

std::optional<std::string> value_of(const std::string& line, std::string_view key) {
  if (line.compare(0, key.size(), key) != 0) return std::nullopt;
  return line.substr(key.size());
}

// The first two lines are the same in every format, so that every program can tell a newer one.
Marker read_marker(const std::string& directory, unsigned newest = kFormat) {
  const std::string path = marker_path(directory);
  std::ifstream in(path);
  if (!in) throw os_error("read", path, errno);
  std::string title;
  std::string format;
  std::string migration;
  std::getline(in, title);
  std::getline(in, format);
  std::getline(in, migration);
  Marker marker;
  const auto number = value_of(format, "format: ").value_or("");
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), marker.format);
  if (title != kTitle || error != std::errc() || end != number.data() + number.size()) {
    throw Error(ErrorKind::precondition, cat(path, " is not walign's"),
                "set state: to a directory of walign's own, or one that does not exist yet");
  }
  if (marker.format > newest) {
    throw Error(ErrorKind::precondition,
                cat("state directory ", directory, " has format ", marker.format,
                    ", this program knows formats up to ", newest),
                "a newer walign wrote it: run that one; it was left as it was");
  }
  const auto name = value_of(migration, "migration: ");
  if (marker.format < kOldestFormat || !name) {
    throw Error(ErrorKind::storage, cat(path, " is damaged"),
                cat("move ", directory, " away and run again: it is written anew from the target"));
  }
  marker.migration = *name;
  return marker;
}

void require_directory(const std::string& directory) {
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0) throw os_error("open", directory, errno);
  if (!S_ISDIR(info.st_mode)) {
    throw Error(ErrorKind::precondition, cat(directory, " is not a directory"),
                "set state: to a directory of walign's own, or one that does not exist yet");
  }
}

[[noreturn]] void refuse_foreign(const std::string& directory) {
  throw Error(ErrorKind::precondition, cat("directory ", directory, " is not empty, and not walign's"),
              "set state: to a directory of walign's own, or one that does not exist yet");
}

}  // namespace

Error os_error(std::string_view doing, const std::string& path, int error_number) {
  const std::string message = cat("cannot ", doing, " ", path, ": ", std::strerror(error_number));
  switch (error_number) {
    case EACCES:
    case EPERM:
      return {ErrorKind::precondition, message,
              cat("let the user that runs walign (uid ", ::geteuid(),
                  ") own the state directory, or set state: to one that it owns")};
    case EROFS:
      return {ErrorKind::precondition, message, "set state: to a directory on a disk that can be written"};
    case ENOTDIR:
    case ENOENT:
    case ELOOP:
    case ENAMETOOLONG:
      return {ErrorKind::precondition, message, "set state: to a directory that exists or can be made"};
    case ENOSPC:
    case EDQUOT:
      return {ErrorKind::storage, message,
              "make room on that disk and start again: walign goes on from the target's position"};
    case EMFILE:
    case ENFILE:
      return {ErrorKind::storage, message, "raise the limit of open files (ulimit -n) and start again"};
    default:
      return {ErrorKind::storage, message,
              "see the kernel's log for what is wrong with the disk; walign can start again on another one "
              "(state:), its position is on the target"};
  }
}

void prepare_directory(const std::string& given, const std::string& migration, unsigned format) {
  WALIGN_CHECK(!given.empty());
  WALIGN_CHECK(migration.find('\n') == std::string::npos);
  const std::string directory = trimmed(given);
  make_directories(directory);
  require_directory(directory);
  if (!is_file(marker_path(directory))) {
    if (!has_nothing(directory)) refuse_foreign(directory);
    write_marker(directory, migration, format);
  }
  const Marker marker = read_marker(directory, format);
  if (marker.migration == migration) {
    // From now on what is written here is of this format: a program that does not know it must not read on.
    if (marker.format < format) write_marker(directory, migration, format);
    return;
  }
  throw Error(
      ErrorKind::precondition,
      cat("state directory ", directory, " belongs to migration ", marker.migration, ", this is ", migration),
      "set state: to another directory; each migration has its own");
}

void check_directory(const std::string& given) {
  const std::string directory = trimmed(given);
  std::error_code ignored;
  if (!fs::exists(directory, ignored) && !ignored) {
    throw Error(ErrorKind::precondition, cat("there is no state directory ", directory),
                "`walign run` makes it; is state: what the sidecar on this machine was started with?");
  }
  require_directory(directory);
  if (is_file(marker_path(directory))) {
    read_marker(directory);
    return;
  }
  if (!has_nothing(directory)) refuse_foreign(directory);
}

std::string database_path(const std::string& directory) { return cat(trimmed(directory), "/db"); }

bool database_is_new(const std::string& directory) {
  std::error_code error;
  for (fs::directory_iterator it(database_path(directory), error), end; !error && it != end;
       it.increment(error)) {
    const auto kind = it->path().extension();
    if (it->path().filename() == "CURRENT" || kind == ".log" || kind == ".sst") return false;
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw os_error("read directory", database_path(directory), error.value());
  }
  return true;
}

void require_room(const std::string& directory, std::uint64_t bytes) {
  struct statvfs info {};
  if (::statvfs(directory.c_str(), &info) != 0) throw os_error("look at the disk of", directory, errno);
  const std::uint64_t room = std::uint64_t{info.f_bavail} * info.f_frsize;
  if (room >= bytes) return;
  throw Error(
      ErrorKind::storage,
      cat("the disk of state directory ", directory, " has ", room, " bytes left, ", bytes, " are needed"),
      "make room on that disk and start again: walign goes on from the target's position");
}

std::uint64_t directory_bytes(const std::string& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    const auto size = it->is_regular_file(gone) ? it->file_size(gone) : 0;
    if (!gone) bytes += size;
  }
  return bytes;
}

// Read off the kernel's table: to open and close the lock file would let go of a lock of our own.
int lock_holder(const std::string& directory) {
  struct stat info {};
  if (::stat((database_path(directory) + "/LOCK").c_str(), &info) != 0) return 0;
  char place[64];
  std::snprintf(place, sizeof place, "%02x:%02x:%llu", major(info.st_dev), minor(info.st_dev),
                static_cast<unsigned long long>(info.st_ino));
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    std::istringstream words(line);
    std::string number, kind, mode, access, at;
    int pid = 0;
    if (words >> number >> kind >> mode >> access >> pid >> at && at == place) return std::max(pid, 0);
  }
  return 0;
}

}  // namespace walign::state
