// A pulse beats on the thread that wears it, and on no other.
#include <thread>

#include "support/catch.hpp"
#include "walign/base.hpp"
#include "walign/pulse.hpp"

using namespace walign;
using namespace std::chrono_literals;

namespace {

void be_silent_for(std::chrono::duration<double> time) {
  while (*Pulse::longest_silence() < time) std::this_thread::sleep_for(5ms);
}

}  // namespace

TEST_CASE("there is no silence where there is no pulse") {
  CHECK_FALSE(Pulse::longest_silence());
  {
    const Pulse pulse;
    CHECK(Pulse::longest_silence());
    CHECK(Pulse::here());
  }
  CHECK_FALSE(Pulse::longest_silence());
  CHECK_FALSE(Pulse::here());
}

TEST_CASE("only the thread that has a pulse makes it beat") {
  const Pulse pulse;
  be_silent_for(100ms);
  std::thread([] {
    CHECK_FALSE(Pulse::here());
    Pulse::beat();
  }).join();
  CHECK(*Pulse::longest_silence() >= 100ms);
  be_silent_for(1s);
  Pulse::beat();
  CHECK(*Pulse::longest_silence() < 1s);
}

TEST_CASE("of two pulses the silence is that of the one that is silent for longer") {
  const Pulse pulse;
  be_silent_for(200ms);
  std::thread([] {
    const Pulse other;
    CHECK(*Pulse::longest_silence() >= 200ms);
  }).join();
}

TEST_CASE("who sleeps has a pulse all along, and is woken by an interrupt") {
  Interrupt interrupt;
  std::optional<ErrorKind> came;
  std::thread sleeper([&] {
    const Pulse pulse;
    try {
      interrupt.sleep_for(1h);
    } catch (const Error& error) {
      came = error.kind();
    }
  });
  while (!Pulse::longest_silence()) std::this_thread::sleep_for(1ms);
  std::chrono::duration<double> least{0};
  for (int beats = 0; beats < 2;) {  // it falls when a beat comes
    const auto silent = *Pulse::longest_silence();
    if (silent < least) ++beats;
    least = silent;
    std::this_thread::sleep_for(5ms);
  }
  interrupt.raise();
  sleeper.join();
  CHECK(came == ErrorKind::interrupted);
}
