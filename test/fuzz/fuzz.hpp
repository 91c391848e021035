// What a fuzzer is here: a function over any bytes, and inputs to begin with. It throws nothing, whatever the bytes;
// what it finds wrong it says with wrong(), which ends the program.
//
// fuzz_NAME (this build) replays files and directories, and with --runs tries so many inputs made from the seeds; a
// build with clang and -DWALIGN_FUZZ=ON makes libFuzzer's program of the same function: tools/dev fuzz NAME.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "walign/base.hpp"

namespace walign::fuzz {

void one_input(std::string_view bytes);
std::vector<std::string> seeds();

[[noreturn]] inline void wrong(const std::string& what) {
  std::fprintf(stderr, "wrong: %s\n", what.c_str());
  std::abort();
}

// Input that is bad may be refused in these ways, with a hint, and in no other.
inline void check_refusal(const Error& error, bool hint = true) {
  const auto kind = error.kind();
  const bool fits = kind == ErrorKind::malformed || kind == ErrorKind::storage ||
                    kind == ErrorKind::precondition || kind == ErrorKind::usage;
  if (!fits) wrong("another kind of error: " + error.describe());
  if (error.message().empty()) wrong("an error without a message");
  if (hint && error.hint().empty()) wrong("an error without a hint: " + error.message());
}

inline std::string read_file(const std::filesystem::path& path) {
  std::ostringstream out;
  out << std::ifstream(path, std::ios::binary).rdbuf();
  return out.str();
}

// A directory for the program's life, in memory where there is room for one.
class Scratch {
 public:
  Scratch() {
    std::string name =
        std::filesystem::exists("/dev/shm") ? "/dev/shm/walign-fuzz-XXXXXX" : "/tmp/walign-fuzz-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) wrong("no directory " + name);
    path_ = name;
  }
  ~Scratch() { std::filesystem::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  // Emptied.
  [[nodiscard]] std::string fresh(const std::string& name) const {
    const auto path = path_ / name;
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
    return path.string();
  }

 private:
  std::filesystem::path path_;
};

}  // namespace walign::fuzz
