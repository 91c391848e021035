// walign.yaml: what is read can be shown and read again, and means the same.
#include "walign/config.hpp"

#include "fuzz.hpp"

namespace walign::fuzz {

namespace {

std::optional<std::string> environment(const std::string& name) {
  if (name == "HOME") return "/home/somebody";
  return std::nullopt;
}

}  // namespace

void one_input(std::string_view bytes) {
  try {
    const auto config = config::parse(std::string(bytes), "f.yaml", environment);
    const std::string shown = config::show(config);
    const auto again = config::parse(shown, "f.yaml", environment);
    if (config::show(again) != shown) wrong("what is shown is read as something else");
  } catch (const config::ConfigError& error) {
    if (error.problems().empty()) wrong("a refusal without a problem");
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> out = {
      "migration: m\nsource: postgresql://a:b@h/app\ntarget: host=h dbname=new\nstate: ${HOME}/s\n"
      "tables:\n  - public.users: public.users_async\n  - public.plants\n  - from: public.l\n    to: m.s\n"
      "    key: [id]\n    where: status <> 'DRAFT'\n    columns:\n      id: legacy\n      status: { values: "
      "{ A: a }, "
      "else: b }\n      price: { sql: \"cents / 100.0\", reverse: \"round(price * 100)::int\" }\n      "
      "notes: false\n"
      "    one_way: true\n  - \"audit.*\"\nbackfill: { workers: 2, chunk_rows: 50000, chunk_bytes: 64MiB }\n"
      "apply: { on_conflict: dead_letter }\njournal: { keep: 1GiB, keep_for: 24h }\ngates: { max_lag: 1MiB "
      "}\n"
      "cutover: { max_pause: 5s, switch_hook: \"true\" }\nhttp: \"\"\n"};
  for (const auto& entry : std::filesystem::recursive_directory_iterator(WALIGN_TEST_DATA "/config")) {
    if (entry.path().extension() != ".yaml") continue;
    out.push_back(read_file(entry.path()));
  }
  return out;
}

}  // namespace walign::fuzz
