// remove, where there is a fence.
#include "finish_test.hpp"

using namespace walign;
using namespace walign::test;

namespace {

Error remove_refused(FinishBed& bed) {
  try {
    bed.remove();
  } catch (const Error& error) {
    return error;
  }
  return {ErrorKind::bug, "it was not refused"};
}

}  // namespace

TEST_CASE("remove before a cutover, or after a rollback, leaves nothing and both sides open") {
  for (const bool one_database : {false, true}) {
    for (const RowState target : {RowState::closed, RowState::aborted, RowState::sealed}) {
      FinishBed bed(one_database);
      bed.stands(RowState::open, target);
      CHECK(bed.write(bed.target, "t_new") == "25006");
      bed.remove();
      CHECK(text_of(things(bed.source.admin)).empty());
      CHECK(text_of(things(bed.target.admin)).empty());
      CHECK(bed.write(bed.source, "t") == "ok");
      CHECK(bed.write(bed.target, "t_new") == "ok");
      CHECK(bed.remove().empty());
    }
  }
}

TEST_CASE("remove that is killed between any two steps is run again, and never stops the source's writes") {
  for (const bool one_database : {false, true}) {
    FinishBed bed(one_database);
    bed.stands(RowState::open, RowState::closed);
    int kills = 0;
    for (bool done = false; !done; ++kills) {
      REQUIRE(kills < 50);
      try {
        bed.remove([] { throw Killed(); });
        done = true;
      } catch (const Killed&) {
        CHECK(bed.write(bed.source, "t") == "ok");
      }
    }
    CHECK(kills >= 4);
    CHECK(text_of(things(bed.source.admin)).empty());
    CHECK(text_of(things(bed.target.admin)).empty());
  }
}

TEST_CASE("remove is refused while the target takes writes or a change of sides is half done") {
  FinishBed bed(false);
  bed.stands(RowState::sealed, RowState::open);
  const auto before = text_of(things(bed.source.admin)) + text_of(things(bed.target.admin));
  for (const auto& [source, target, hint] :
       {std::tuple(RowState::sealed, RowState::open, "walign finish"),
        std::tuple(RowState::sealed, RowState::open, "walign rollback"),
        std::tuple(RowState::fencing, RowState::closed, "walign recover"),
        std::tuple(RowState::sealed, RowState::closed, "walign recover"),
        std::tuple(RowState::closed, RowState::fenced, "walign recover")}) {
    bed.stands_now(source, target);
    const auto error = remove_refused(bed);
    INFO(error.describe());
    CHECK(error.kind() == ErrorKind::precondition);
    CHECK(has(error.hint(), hint));
    CHECK(text_of(things(bed.source.admin)) + text_of(things(bed.target.admin)) == before);
  }
  // A human has opened one beside the other: it is the way out.
  bed.stands_now(RowState::open, RowState::open);
  bed.remove();
  CHECK(text_of(things(bed.source.admin)).empty());
  CHECK(text_of(things(bed.target.admin)).empty());
}

TEST_CASE("remove is refused for what is finished, also where the state directory is lost") {
  FinishBed finished(false);
  finished.cut_over();
  finished.finish(OldSide::closed);
  CHECK(has(remove_refused(finished).message(), "is finished"));
  std::filesystem::remove_all(finished.state());
  CHECK(has(remove_refused(finished).message(), "is finished"));  // the triggers say so
}

TEST_CASE("remove leaves another migration in the same databases as it is") {
  for (const bool one_database : {false, true}) {
    FinishBed bed(one_database);
    bed.stands(RowState::open, RowState::closed);
    bed.another();
    bed.remove();
    bed.check_others_untouched();
  }
}

TEST_CASE("a table that is held is said with who holds it, and remove is run again") {
  FinishBed bed(false);
  bed.stands(RowState::open, RowState::closed);
  Sql reader = bed.target.as("app");
  reader.exec("BEGIN; SELECT count(*) FROM t_new");
  const auto error = remove_refused(bed);
  CHECK(error.kind() == ErrorKind::precondition);
  CHECK(has(error.message(), "public.t_new; held by pid " + std::to_string(reader.backend_pid())));
  CHECK(outcome(bed.target.app, "INSERT INTO t_new VALUES (1, 'w')") == "25006");
  reader.exec("COMMIT");
  bed.remove();
  CHECK(text_of(things(bed.target.admin)).empty());
}

TEST_CASE("a fence of the same name that is another migration's is not taken for ours") {
  FinishBed bed(false);
  bed.stands(RowState::open, RowState::closed);
  insert_row(*bed.target.giver, {FinishBed::kName, Side::source}, {1, RowState::open, 7, {}, {}});
  CHECK(has(remove_refused(bed).hint(), "another migration has the same name"));
}

TEST_CASE("a stalled instance is displaced before anything is taken away") {
  FinishBed bed(false);
  bed.stands(RowState::open, RowState::closed);
  const FenceId id{FinishBed::kName, Side::target};
  const auto seen = *read_row(*bed.target.giver, id);
  CHECK_THROWS_AS(bed.remove([&] {
    // It wakes up, and begins the attempt that it was about to begin.
    CHECK(
        !compare_and_set(*bed.target.giver, id, seen, {seen.epoch + 1, RowState::closed, 7, {}}, Millis(1000))
             .done);
    throw Killed();
  }),
                  Killed);
}

TEST_CASE("slots of the same name in another database of the server are another migration's") {
  FinishBed theirs(false);
  theirs.stands(RowState::open, RowState::closed);
  const auto before = text_of(things(theirs.source.admin)) + text_of(things(theirs.target.admin));
  FinishBed bed(false);
  bed.remove();
  CHECK(text_of(things(bed.source.admin)).empty());
  CHECK(text_of(things(theirs.source.admin)) + text_of(things(theirs.target.admin)) == before);
}
