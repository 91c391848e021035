#define CATCH_CONFIG_MAIN  // version 2 makes main() from this; version 3 ignores it
#include "support/catch.hpp"

#if WALIGN_CATCH2_VERSION >= 3
int main(int argc, char** argv) { return Catch::Session().run(argc, argv); }
#endif
