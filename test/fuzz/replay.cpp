// fuzz_NAME [--runs N] [--seed N] [--write-seeds DIRECTORY] [FILE | DIRECTORY]...
#include <cstdint>
#include <iostream>
#include <random>

#include "fuzz.hpp"

namespace fs = std::filesystem;
using namespace walign;

namespace {

std::vector<std::string> read_all(const fs::path& path) {
  if (!fs::is_directory(path)) return {fuzz::read_file(path)};
  std::vector<std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) out.push_back(fuzz::read_file(entry.path()));
  }
  return out;
}

// One input made from two others.
class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::string make(const std::vector<std::string>& from) {
    std::string bytes = from[below(from.size())];
    for (std::size_t changes = 1 + below(6); changes > 0; --changes) change(bytes, from[below(from.size())]);
    return bytes;
  }

 private:
  std::size_t below(std::size_t end) { return end == 0 ? 0 : random_() % end; }

  void change(std::string& bytes, const std::string& other) {
    const std::size_t at = below(bytes.size());
    const std::size_t count = 1 + below(16);
    switch (below(7)) {
      case 0:
        if (!bytes.empty())
          bytes[at] = static_cast<char>(static_cast<unsigned char>(bytes[at]) ^ (1U << below(8)));
        break;
      case 1:
        if (!bytes.empty()) bytes[at] = static_cast<char>(below(256));
        break;
      case 2: bytes.erase(at, count); break;
      case 3: bytes.insert(at, count, static_cast<char>(below(256))); break;
      case 4: bytes.insert(at, bytes.substr(below(bytes.size()), count * 4)); break;
      case 5: bytes.insert(at, other.substr(below(other.size()), count * 16)); break;
      default: bytes.resize(at); break;
    }
  }

  std::mt19937_64 random_;
};

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t runs = 0;
  std::uint64_t seed = 1;
  std::vector<std::string> inputs = fuzz::seeds();
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const bool has_value = i + 1 < argc;
    if (word == "--runs" && has_value) {
      runs = std::stoull(argv[++i]);
    } else if (word == "--seed" && has_value) {
      seed = std::stoull(argv[++i]);
    } else if (word == "--write-seeds" && has_value) {
      const fs::path directory = argv[++i];
      fs::create_directories(directory);
      for (std::size_t n = 0; n < inputs.size(); ++n) {
        std::ofstream(directory / std::to_string(n), std::ios::binary) << inputs[n];
      }
    } else {
      for (auto& bytes : read_all(word)) inputs.push_back(std::move(bytes));
    }
  }
  if (inputs.empty()) fuzz::wrong("there is nothing to begin with");
  for (const auto& bytes : inputs) fuzz::one_input(bytes);
  const auto last = fs::temp_directory_path() / (fs::path(argv[0]).filename().string() + "-last-input");
  Mutator mutator(seed);
  for (std::uint64_t run = 0; run < runs; ++run) {
    const std::string bytes = mutator.make(inputs);
    // What ended the program is found here.
    if (std::getenv("WALIGN_FUZZ_KEEP") != nullptr) std::ofstream(last, std::ios::binary) << bytes;
    fuzz::one_input(bytes);
  }
  std::cout << inputs.size() << " inputs replayed, " << runs << " made from them (seed " << seed << ")\n";
  return 0;
}
