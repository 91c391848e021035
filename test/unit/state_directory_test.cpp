// The state directory: what is made, what is taken, what is refused and left as it was.
#include "state/directory.hpp"
#include "state_test.hpp"

using namespace walign;
using namespace walign::state;

TEST_CASE("there is nothing to read where nothing was written") {
  const TemporaryDirectory base;
  const auto missing = refusal([&] { Store::open_read_only(base / "s"); });
  CHECK(missing.kind() == ErrorKind::precondition);
  CHECK(says(missing, "there is no state directory"));
  fs::create_directory(base / "s");
  CHECK(says(refusal([&] { Store::open_read_only(base / "s"); }), "holds nothing yet"));
  CHECK(tree(base / "s").empty());
  write_file(base / "s/other", "x");
  CHECK(says(refusal([&] { Store::open_read_only(base / "s"); }), "not walign's"));
}

TEST_CASE("the directory is made for its owner only, with the parents it lacks") {
  const TemporaryDirectory base;
  const auto mask = ::umask(022);
  { const auto store = Store::open(base / "a/b/c/", "m"); }
  ::umask(mask);
  CHECK(mode_of(base / "a") == 0755);
  CHECK(mode_of(base / "a/b") == 0755);
  CHECK(mode_of(base / "a/b/c") == 0700);
  { const auto store = Store::open(base / "a/b/c", "m"); }
}

TEST_CASE("an empty directory is taken, also the root of a file system") {
  const TemporaryDirectory base;
  fs::create_directories(base / "s/lost+found");
  write_file(base / "s/format.new", "walign st");  // a start that ended while it wrote its first file
  const auto store = Store::open(base / "s", "m");
  store->put_phase("streaming");
  CHECK(store->phase() == "streaming");
}

TEST_CASE("a directory that is not walign's is refused and left as it was") {
  const TemporaryDirectory base;
  fs::create_directory(base / "s");
  SECTION("somebody's files") { write_file(base / "s/notes.txt", "mine"); }
  SECTION("a file called format") { write_file(base / "s/format", "A4\n"); }
  SECTION("an empty file called format") { write_file(base / "s/format", ""); }
  const auto before = tree(base / "s");
  const auto error = refusal_to_open(base / "s");
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(says(error, "walign's"));
  CHECK(tree(base / "s") == before);
}

TEST_CASE("what is no directory is refused") {
  const TemporaryDirectory base;
  write_file(base / "file", "x");
  CHECK(refusal_to_open(base / "file").kind() == ErrorKind::precondition);
  CHECK(refusal_to_open(base / "file/below").kind() == ErrorKind::precondition);
}

TEST_CASE("a newer format is refused and left as it was") {
  const TemporaryDirectory base;
  { Store::open(base / "s", "m")->put_phase("streaming"); }
  write_file(base / "s/format", "walign state directory\nformat: 2\nwhatever a newer one writes\n");
  const auto before = tree(base / "s");
  const auto error = refusal_to_open(base / "s");
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(says(error, "has format 2"));
  CHECK(says(refusal([&] { Store::open_read_only(base / "s"); }), "has format 2"));
  CHECK(tree(base / "s") == before);
}

TEST_CASE("another migration's directory is refused and left as it was") {
  const TemporaryDirectory base;
  { Store::open(base / "s", "users")->put_identity(identity_of("users")); }
  const auto before = tree(base / "s");
  const auto error = refusal_to_open(base / "s", "orders");
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(says(error, "belongs to migration users, this is orders"));
  CHECK(tree(base / "s") == before);
  SECTION("also where only its identity tells") {
    write_file(base / "s/format", "walign state directory\nformat: 1\nmigration: orders\n");
    CHECK(says(refusal_to_open(base / "s", "orders"), "holds the state of migration users"));
    CHECK(Store::open_read_only(base / "s")->identity()->migration() == "users");
  }
}

TEST_CASE("a directory that may not be written is refused with its owner's remedy") {
  if (::geteuid() == 0) return;  // to whom everything is permitted
  const TemporaryDirectory base;
  fs::create_directory(base / "s");
  fs::permissions(base / "s", fs::perms::owner_read | fs::perms::owner_exec);
  CHECK(refusal_to_open(base / "s").kind() == ErrorKind::precondition);
  CHECK(refusal_to_open(base / "s/below").kind() == ErrorKind::precondition);
}

TEST_CASE("a disk that is nearly full is refused before it is") {
  const TemporaryDirectory base;
  fs::create_directory(base / "s");
  require_room(base / "s", 1);
  const auto error = refusal([&] { require_room(base / "s", UINT64_MAX); });
  CHECK(error.kind() == ErrorKind::storage);
  CHECK(says(error, "make room"));
}

TEST_CASE("one process cannot open a directory twice") {
  const TemporaryDirectory base;
  const auto store = Store::open(base / "s", "m");
  const auto error = refusal_to_open(base / "s");
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(says(error, "is held by"));
  store->put_phase("streaming");
  CHECK(store->phase() == "streaming");
}

TEST_CASE("a report is kept whole, for its owner only, and takes the place of one of the same name") {
  const TemporaryDirectory base;
  const auto path = keep_report(base / "s", "r.json", "{}\n");
  CHECK(path == (base / "s") + "/reports/r.json");
  CHECK(mode_of(path) == 0600);
  CHECK(keep_report(base / "s", "r.json", "{1}\n") == path);
  CHECK(fs::file_size(path) == 4);
  CHECK(std::distance(fs::directory_iterator(base / "s/reports"), fs::directory_iterator()) == 1);
  write_file(base / "file", "x");
  CHECK(says(refusal([&] { keep_report(base / "file", "r.json", "{}"); }), "file"));
}

TEST_CASE("a directory is removed with all that is in it, and one that is not there is no error") {
  const TemporaryDirectory base;
  fs::create_directories(base / "s/a/b");
  write_file(base / "s/a/b/c", "x");
  CHECK(remove_directory(base / "s"));
  CHECK(!fs::exists(base / "s"));
  CHECK(!remove_directory(base / "s"));
}
