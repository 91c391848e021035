// Recorded messages: test/data/wire/*.frames, made by tools/record-wire. A line per message: LSN,
// payload.
#pragma once

#include <cctype>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace frames {

struct Frame {
  std::string lsn;
  std::string payload;
};

// Of protocol version 1.
inline const std::vector<std::string>& recordings() {
  static const std::vector<std::string> names = {"pg15-v1-text",   "pg15-v1-binary", "pg17-v1-text",
                                                 "pg17-v1-binary", "pg18-v1-text",   "pg18-v1-binary"};
  return names;
}

// Of later ones: transactions streamed while they run, and (but for version 2) in two phases.
struct Streamed {
  std::string name;
  int version;
  bool parallel;
};
inline const std::vector<Streamed>& streamed_recordings() {
  static const std::vector<Streamed> all = {
      {"pg15-v2", 2, false}, {"pg15-v3", 3, false}, {"pg17-v4", 4, true}, {"pg18-v4", 4, true}};
  return all;
}

inline std::string path(const std::string& name) { return std::string(WALIGN_TEST_DATA) + "/wire/" + name; }

inline std::string from_hex(const std::string& hex) {
  if (hex.size() % 2 != 0) throw std::runtime_error("half a byte in a recording");
  std::string out;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return out;
}

// All messages of a recording; throws if there are none.
inline std::vector<Frame> read(const std::string& name) {
  std::ifstream file(path(name + ".frames"));
  std::vector<Frame> out;
  std::string lsn;
  std::string hex;
  while (file >> lsn >> hex) out.push_back({lsn, from_hex(hex)});
  if (out.empty()) throw std::runtime_error("no messages in " + path(name + ".frames"));
  return out;
}

}  // namespace frames
