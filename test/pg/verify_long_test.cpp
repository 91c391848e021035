// The same as verify_load_test.cpp, with a standby that stalls for 2 s and 300,000 rows. For fifty rounds over a
// million: WALIGN_ROUNDS=50 WALIGN_SCALE=10 pg_verify_long
#include <cstdlib>

namespace {
const bool kLong = [] {
  ::setenv("WALIGN_ROUNDS", "5", 0);
  ::setenv("WALIGN_SCALE", "3", 0);
  ::setenv("WALIGN_STALL_MS", "2000", 0);
  return true;
}();
}  // namespace
#include "verify_load_test.cpp"
