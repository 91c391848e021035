// Which protocol is asked for, and how.
#include "source/protocol.hpp"
#include "support/catch.hpp"

using namespace walign;
using namespace walign::source;

TEST_CASE("the newest version of the protocol that the server speaks is asked for") {
  struct Expected {
    int server, version;
  };
  for (const auto& [server, version] : {Expected{130014, 1}, Expected{140011, 2}, Expected{150013, 3},
                                        Expected{160002, 4}, Expected{170011, 4}, Expected{180000, 4}}) {
    INFO(server);
    CHECK(best_protocol(server, true).version == version);
    CHECK_FALSE(best_protocol(server, true).parallel);
    CHECK(best_protocol(server, false).version == 1);
  }
}

TEST_CASE("two phases are asked for by captures alone, and values never in binary form") {
  const auto plain = plugin_options({"p", "q\"r"}, best_protocol(150013, true));
  CHECK(plain == "proto_version '3', messages 'true', streaming 'on', publication_names '\"p\",\"q\"\"r\"'");
  const auto two_phase = plugin_options({"p"}, best_protocol(150013, true), true);
  CHECK(two_phase.find("two_phase 'on'") != std::string::npos);
  CHECK(two_phase.find("binary") == std::string::npos);
}
