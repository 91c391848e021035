// A sidecar that is asked for a change of sides by itself and dies by SIGKILL right after one of its steps:
//
//   turnover_victim walign.yaml cutover|rollback STEP
#include <csignal>

#include "walign/cutover.hpp"

using namespace walign;

namespace {

bool ready(const cutover::Migration& migration, bool reverse) {
  const auto status = migration.status();
  if (reverse) return status.sides.rollback_ready == true;
  return status.connected && !status.tables.empty() &&
         std::all_of(status.tables.begin(), status.tables.end(),
                     [](const auto& t) { return t.state == "streaming"; });
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string verb = argv[2], last = argv[3];
  const Interrupt stop;
  cutover::Migration::Options options;
  options.config = config::load(argv[1], config::process_environment());
  options.stop = &stop;
  options.step = [&](const cutover::Progress& step) {
    if (step.step == last) ::kill(::getpid(), SIGKILL);
  };
  cutover::Migration migration(std::move(options));
  std::thread runs([&] {
    try {
      migration.run();
    } catch (const Error& error) {
      std::cerr << error.describe() << "\n";
      ::_exit(3);
    }
  });
  while (!ready(migration, verb == "rollback")) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  auto& verifier = migration.verifier();
  verifier.await(verifier.begin({}), std::chrono::seconds(60));
  auto& controller = migration.controller();
  for (int tries = 0; tries < 20; ++tries) {
    controller.ask(
        {verb == "cutover" ? cutover::Verb::cutover : cutover::Verb::rollback, cutover::Extent::real});
    cutover::Controller::Watch watch;
    do watch = controller.watch(1'000'000, std::chrono::milliseconds(100));
    while (watch.running);
    std::cerr << (watch.result ? watch.result->message : watch.failed) << "\n";
    if (watch.result && watch.result->outcome == cutover::Result::Outcome::done) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
  }
  ::_exit(4);  // it was to die before
}
