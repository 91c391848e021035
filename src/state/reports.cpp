// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <cstdio>
#include <filesystem>

#include "state/directory.hpp"
#include "state/file.hpp"
#include "walign/state.hpp"

namespace walign::state {

namespace fs = std::filesystem;

std::string keep_report(const std::string& directory, const std::string& name, std::string_view text) {
  const std::string reports = cat(directory, "/reports");
  const std::string path = cat(reports, "/", name);
  const std::string unfinished = cat(path, ".unfinished");
  make_directories(reports);
  {
    const File file(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    file.write(text);
    file.sync();
  }
  if (std::rename(unfinished.c_str(), path.c_str()) != 0) throw os_error("rename to", path, errno);
  sync_directory(reports);
  return path;
}

bool remove_directory(const std::string& path) {
  std::error_code error;
  const auto removed = fs::remove_all(path, error);
  if (error) throw os_error("remove", path, error.value());
  return removed > 0;
}

}  // namespace walign::state
