// What is on disk cut short, damaged or from elsewhere; and a disk that refuses.
#include <cerrno>

#include "state/directory.hpp"
#include "state/record.hpp"
#include "state/rocks_options.hpp"
#include "state_test.hpp"

using namespace walign;
using namespace walign::state;

TEST_CASE("a store whose making was cut short is empty to a reader and finished by a writer") {
  const TemporaryDirectory base;
  fs::create_directory(base / "s");
  write_file(base / "s/format", "walign state directory\nformat: 1\nmigration: m\n");
  SECTION("before its families were made") {
    rocksdb::Options options;
    options.create_if_missing = true;
    rocksdb::DB* raw = nullptr;
    REQUIRE(rocksdb::DB::Open(options, base / "s/db", &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    const auto reader = Store::open_read_only(base / "s");
    CHECK_FALSE(reader->identity().has_value());
    CHECK_FALSE(reader->newest_checkpoint().has_value());
    CHECK_FALSE(reader->checkpoint(Lsn(1)).has_value());
    CHECK(reader->phase() == "new");
  }
  SECTION("before its catalog was named") {
    fs::create_directory(base / "s/db");
    write_file(base / "s/db/MANIFEST-000001", "half");
    CHECK(says(refusal([&] { Store::open_read_only(base / "s"); }), "holds nothing yet"));
  }
  const auto store = Store::open(base / "s", "m");
  store->put_checkpoint(checkpoint_at(1));
  CHECK(store->newest_checkpoint()->durable_lsn() == 1);
}

TEST_CASE("what the disk refuses is told with its remedy") {
  using rocksdb::Status;
  const auto full =
      rocks_error("/d", "write to it", Status::IOError("While appending", "No space left on device"));
  CHECK(full.kind() == ErrorKind::storage);
  CHECK(says(full, "make room"));
  CHECK(says(rocks_error("/d", "write to it", Status::NoSpace()), "make room"));
  const auto denied = rocks_error("/d", "open it", Status::IOError("While open a file", "Permission denied"));
  CHECK(denied.kind() == ErrorKind::precondition);
  CHECK(rocks_error("/d", "open it", Status::IOError("x", "Read-only file system")).kind() ==
        ErrorKind::precondition);
  const auto damaged = rocks_error("/d", "open it", Status::Corruption("checksum mismatch"));
  CHECK(damaged.kind() == ErrorKind::storage);
  CHECK(says(damaged, "mv /d /d.damaged"));
  CHECK(says(rocks_error("/d", "open it", Status::InvalidArgument("Column families not opened: journal")),
             "a newer walign"));
  CHECK(os_error("open", "/d", ENOSPC).kind() == ErrorKind::storage);
  CHECK(os_error("open", "/d", EIO).kind() == ErrorKind::storage);
  CHECK(os_error("open", "/d", EACCES).kind() == ErrorKind::precondition);
  CHECK(os_error("open", "/d", EROFS).kind() == ErrorKind::precondition);
}

TEST_CASE("families of a newer walign are not opened over") {
  const TemporaryDirectory base;
  { Store::open(base / "s", "m")->put_phase("streaming"); }
  {
    rocksdb::Options options;
    options.create_missing_column_families = true;
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const char* name : {"default", "identity", "checkpoints", "phase", "dirty", "verify", "later"}) {
      families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    }
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* raw = nullptr;
    REQUIRE(rocksdb::DB::Open(options, base / "s/db", families, &handles, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    for (auto* handle : handles) CHECK(db->DestroyColumnFamilyHandle(handle).ok());
  }
  const auto error = refusal_to_open(base / "s");
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(says(error, "a newer walign"));
  CHECK(Store::open_read_only(base / "s")->phase() == "streaming");
}

namespace {

std::string newest_log(const std::string& directory) {
  std::string newest;
  for (const auto& entry : fs::directory_iterator(directory + "/db")) {
    const auto path = entry.path().string();
    if (entry.path().extension() == ".log" && path > newest) newest = path;
  }
  REQUIRE_FALSE(newest.empty());
  return newest;
}

void copy_store_with_five_checkpoints(const TemporaryDirectory& base) {
  const auto store = Store::open(base / "s", "m");
  for (std::uint64_t lsn = 1; lsn <= 5; ++lsn) store->put_checkpoint(checkpoint_at(lsn));
  fs::copy(base / "s", base / "copy", fs::copy_options::recursive);  // as a power loss would leave it
}

}  // namespace

TEST_CASE("a log torn at its end opens with all that was whole") {
  const TemporaryDirectory base;
  copy_store_with_five_checkpoints(base);
  const auto log = newest_log(base / "copy");
  SECTION("cut short") {
    fs::resize_file(log, fs::file_size(log) - 3);
    CHECK(positions(*Store::open(base / "copy", "m")) == std::vector<std::uint64_t>{4, 3, 2, 1});
  }
  SECTION("lengthened by zeros, as a preallocated file is") {
    fs::resize_file(log, fs::file_size(log) + 5000);
    CHECK(positions(*Store::open(base / "copy", "m")) == std::vector<std::uint64_t>{5, 4, 3, 2, 1});
  }
}

TEST_CASE("a log damaged before its end is refused, with the way out") {
  const TemporaryDirectory base;
  copy_store_with_five_checkpoints(base);
  const auto log = newest_log(base / "copy");
  auto bytes = content(log);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(log, bytes);
  const auto error = refusal_to_open(base / "copy");
  CHECK(error.kind() == ErrorKind::storage);
  CHECK(says(error, "away"));
  CHECK(says(error, base / "copy"));
}

TEST_CASE("files without their catalog are refused and left where they are") {
  const TemporaryDirectory base;
  copy_store_with_five_checkpoints(base);
  fs::remove(base / "copy/db/CURRENT");
  const auto log = newest_log(base / "copy");
  CHECK(refusal_to_open(base / "copy").kind() == ErrorKind::storage);
  CHECK(fs::exists(log));
}

TEST_CASE("every prefix of a record and every longer one is an error") {
  const auto whole = encode_record(checkpoint_at(0x1234567890));
  v1::Checkpoint read;
  decode_record(whole, read);
  CHECK(read.SerializeAsString() == checkpoint_at(0x1234567890).SerializeAsString());
  for (std::size_t bytes = 0; bytes < whole.size(); ++bytes) {
    INFO("the first " << bytes << " bytes");
    CHECK_THROWS_AS(decode_record(std::string_view(whole).substr(0, bytes), read), Error);
  }
  CHECK_THROWS_AS(decode_record(whole + '\0', read), Error);
  auto newer = whole;
  newer[0] = 2;
  CHECK(says(refusal([&] { decode_record(newer, read); }), "format 2"));
  CHECK_THROWS_AS(decode_record(encode_record("\xFF"), read), Error);
}

TEST_CASE("a value on disk that cannot be read is named with its directory, family and key") {
  const TemporaryDirectory base;
  { Store::open(base / "s", "m")->put_checkpoint(checkpoint_at(0x100)); }
  {
    rocksdb::Options options;
    std::vector<std::string> names;
    REQUIRE(rocksdb::DB::ListColumnFamilies(options, base / "s/db", &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> families;
    for (const auto& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
    std::vector<rocksdb::ColumnFamilyHandle*> handles;
    rocksdb::DB* raw = nullptr;
    REQUIRE(rocksdb::DB::Open(options, base / "s/db", families, &handles, &raw).ok());
    const std::unique_ptr<rocksdb::DB> db(raw);
    for (auto* handle : handles) {
      const auto name = handle->GetName();
      const auto cut = encode_record(checkpoint_at(0x100)).substr(0, 9);
      if (name == "checkpoints") CHECK(db->Put({}, handle, encode_key(Lsn(0x100)), cut).ok());
      if (name == "identity") CHECK(db->Put({}, handle, "identity", "").ok());
      if (name == "phase") CHECK(db->Put({}, handle, "phase", "\x02\0\0\0\0").ok());
      CHECK(db->DestroyColumnFamilyHandle(handle).ok());
    }
  }
  const auto store = Store::open_read_only(base / "s");
  const auto checkpoint = refusal([&] { store->newest_checkpoint(); });
  CHECK(checkpoint.kind() == ErrorKind::storage);
  CHECK(says(checkpoint, base / "s"));
  CHECK(says(checkpoint, "family checkpoints, key 0/100"));
  CHECK(refusal([&] { store->checkpoint(Lsn(0x100)); }).kind() == ErrorKind::storage);
  CHECK(says(refusal([&] { store->identity(); }), "family identity, key identity"));
  CHECK(says(refusal([&] { store->phase(); }), "family phase, key phase"));
  CHECK(refusal_to_open(base / "s").kind() == ErrorKind::storage);
}
