// The same as verify_load_test.cpp, fifty times and over a million rows.
#include <cstdlib>

namespace {
const bool kLong = [] {
  ::setenv("WALIGN_ROUNDS", "50", 0);
  ::setenv("WALIGN_SCALE", "10", 0);
  ::setenv("WALIGN_STALL_MS", "2000", 0);
  return true;
}();
}  // namespace
#include "verify_load_test.cpp"
