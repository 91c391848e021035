// New clusters for server.hpp: a copy of one made before where there is one (0.1 s), initdb (1 s) where
// not.
//
// Copies have the system identifier of their original, by which walign tells clusters apart. So there
// are several originals, and each new server takes the next one that no living server of this program
// has.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace walign::test {

class Cluster {
 public:
  // Makes `data`, owned by `user` (empty: by the test's own). Throws std::runtime_error with initdb's
  // output.
  Cluster(const std::filesystem::path& data, const std::filesystem::path& initdb,
          const std::vector<std::string>& options, const std::string& user);
  ~Cluster();
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

 private:
  int number_;  // of the original
};

}  // namespace walign::test
