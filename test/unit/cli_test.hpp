// What the tests of module cli share: the program called as a function, and a directory that goes away.
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "support/catch.hpp"
#include "support/temporary_directory.hpp"
#include "walign/cli.hpp"

namespace walign::cli {

using test::has;

namespace fs = std::filesystem;

struct Outcome {
  int status = 0;
  std::string out;
  std::string err;
};

inline Outcome walign(std::vector<std::string> arguments, const std::string& typed = "") {
  std::istringstream in(typed);
  std::ostringstream out, err;
  Outcome outcome;
  outcome.status = main(std::move(arguments), Io{in, out, err, false});
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

// A directory with a configuration whose servers do not exist.
class Workplace {
 public:
  Workplace() {
    const std::string& path = directory_.path();
    std::ofstream(config()) << "migration: users-async\n"
                            << "source: host=" << path << "/none dbname=a password=hunter2\n"
                            << "target: host=" << path << "/none dbname=b\n"
                            << "state: " << state() << "\n"
                            << "tables: [public.users]\n";
  }

  std::string config() const { return directory_ / "walign.yaml"; }
  std::string state() const { return directory_ / "state"; }
  Outcome operator()(std::vector<std::string> arguments, const std::string& typed = "") const {
    arguments.insert(arguments.begin(), {"-c", config()});
    return walign(std::move(arguments), typed);
  }

 private:
  test::TemporaryDirectory directory_;
};

}  // namespace walign::cli
