#include "support/cluster.hpp"

#include <unistd.h>

#include <functional>
#include <mutex>
#include <set>
#include <stdexcept>

#include "support/process.hpp"

namespace walign::test {

namespace fs = std::filesystem;

namespace {

constexpr int kOriginals = 4;

struct Numbers {
  std::mutex mutex;
  std::set<int> taken;
  int last = -1;
};
Numbers& numbers() {
  static Numbers all;
  return all;
}

// In turn, so that a server made after another is gone is another cluster all the same.
int take_number() {
  Numbers& all = numbers();
  const std::lock_guard lock(all.mutex);
  int number = (all.last + 1) % kOriginals;
  for (int tries = 0; all.taken.contains(number); ++tries) {
    number = tries < kOriginals ? (number + 1) % kOriginals : number + 1;
  }
  all.taken.insert(number);
  all.last = number;
  return number;
}

void checked(std::vector<std::string> args, const ProcessOptions& options) {
  const std::string what = args.front();
  const auto done = run(std::move(args), options, 120s);
  if (done.code != 0) throw std::runtime_error(what + " failed:\n" + done.out + done.err);
}

// Other options, another user or a newer initdb make other originals.
std::string original_name(const fs::path& initdb, const std::vector<std::string>& options,
                          const std::string& user, int number) {
  std::string all =
      initdb.string() + user + std::to_string(fs::last_write_time(initdb).time_since_epoch().count());
  for (const auto& option : options) all += '\n' + option;
  return std::to_string(std::hash<std::string>()(all)) + "-" + std::to_string(number);
}

// Under a name of our own first: another test program may be doing the same, and the first one wins.
void keep_copy(const fs::path& data, const fs::path& original) {
  fs::create_directories(original.parent_path());
  const fs::path mine = original.string() + "." + std::to_string(getpid());
  checked({"cp", "-a", data.string(), mine.string()}, {});
  std::error_code taken;
  fs::rename(mine, original, taken);
  if (taken) fs::remove_all(mine);
}

}  // namespace

Cluster::Cluster(const fs::path& data, const fs::path& initdb, const std::vector<std::string>& options,
                 const std::string& user)
    : number_(take_number()) {
  const fs::path original = fs::path(WALIGN_TEST_CLUSTERS) / original_name(initdb, options, user, number_);
  if (fs::exists(original)) {
    checked({"cp", "-a", original.string(), data.string()}, {});
    return;
  }
  std::vector<std::string> args = {initdb.string(), "-D", data.string()};
  args.insert(args.end(), options.begin(), options.end());
  checked(std::move(args), {.directory = data.parent_path().string(), .user = user});
  keep_copy(data, original);
}

Cluster::~Cluster() {
  const std::lock_guard lock(numbers().mutex);
  numbers().taken.erase(number_);
}

}  // namespace walign::test
