// What the tests of module state share: a directory that goes away, records, and what a refusal says.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "state/rocks_store.hpp"
#include "support/catch.hpp"
#include "support/temporary_directory.hpp"

namespace walign::state {

namespace fs = std::filesystem;

using test::TemporaryDirectory;

inline v1::Checkpoint checkpoint_at(std::uint64_t lsn, std::int64_t saved_at_us = 0) {
  v1::Checkpoint checkpoint;
  checkpoint.set_durable_lsn(lsn);
  checkpoint.set_saved_at_us(saved_at_us);
  checkpoint.set_phase("streaming");
  checkpoint.set_transactions(lsn * 3);
  auto* books = checkpoint.add_books();
  books->set_table("public.a -> public.b");
  books->set_decoded(lsn);
  return checkpoint;
}

inline v1::Identity identity_of(const std::string& migration) {
  v1::Identity identity;
  identity.set_migration(migration);
  identity.set_source_system_id("7001");
  identity.set_source_timeline(3);
  return identity;
}

inline std::vector<std::uint64_t> positions(Store& store) {
  std::vector<std::uint64_t> out;
  for (const auto& checkpoint : store.checkpoints(1'000'000)) out.push_back(checkpoint.durable_lsn());
  return out;
}

inline std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// Every file below with its content: what "left as it was" means.
inline std::map<std::string, std::string> tree(const std::string& directory) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(directory)) {
    files[entry.path().string()] = entry.is_regular_file() ? content(entry.path()) : "";
  }
  return files;
}

inline void write_file(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  REQUIRE(out.good());
}

inline Error refusal(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK_FALSE(error.hint().empty());
    return error;
  }
  FAIL("nothing was refused");
  return {ErrorKind::bug, ""};
}

inline Error refusal_to_open(const std::string& directory, const std::string& migration = "m") {
  return refusal([&] { Store::open(directory, migration); });
}

inline bool says(const Error& error, std::string_view words) {
  INFO(error.describe());
  return error.describe().find(words) != std::string::npos;
}

inline mode_t mode_of(const std::string& path) {
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  return info.st_mode & 0777U;
}

}  // namespace walign::state
