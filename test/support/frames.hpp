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

inline const std::vector<std::string>& recordings() {
  static const std::vector<std::string> names = {"pg15-v1-text", "pg15-v1-binary"};
  return names;
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
