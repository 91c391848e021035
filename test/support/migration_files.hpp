// A walign.yaml and a state directory in a directory of their own, for tests that start the program.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "support/process.hpp"

namespace walign::test {

class MigrationFiles {
 public:
  // `rules`: lines of the list of tables; `more`: further top-level lines.
  MigrationFiles(const std::string& name, const std::string& source, const std::string& target,
                 const std::string& rules, const std::string& more = "http: \"\"\n")
      : directory_(std::filesystem::temp_directory_path() /
                   ("walign-" + name + "-" + std::to_string(::getpid()) + "-" + std::to_string(next_++))) {
    std::filesystem::create_directories(directory_);
    std::ofstream(config()) << "migration: " << name << "\nsource: " << source << "\ntarget: " << target
                            << "\nstate: " << state() << "\ntables:\n"
                            << rules << more;
  }
  ~MigrationFiles() { std::filesystem::remove_all(directory_); }
  MigrationFiles(const MigrationFiles&) = delete;
  MigrationFiles& operator=(const MigrationFiles&) = delete;

  [[nodiscard]] std::string config() const { return (directory_ / "walign.yaml").string(); }
  [[nodiscard]] std::string state() const { return (directory_ / "state").string(); }
#ifdef WALIGN_BINARY
  [[nodiscard]] std::vector<std::string> command(std::vector<std::string> args) const {
    args.insert(args.begin(), {WALIGN_BINARY, "-c", config()});
    return args;
  }
#endif

 private:
  static inline int next_ = 1;
  std::filesystem::path directory_;
};

}  // namespace walign::test
