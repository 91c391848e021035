// `walign finish` and `walign remove`, as they are typed.
#include <fstream>

#include "finish_test.hpp"
#include "support/process.hpp"

using namespace walign;
using namespace walign::test;

namespace {

class Typed {
 public:
  explicit Typed(FinishBed& bed) : config_(bed.here / "walign.yaml") { std::ofstream(config_) << bed.yaml(); }
  Finished operator()(std::vector<std::string> args, const std::string& input = "") const {
    args.insert(args.begin(), {WALIGN_BINARY, "-c", config_});
    ProcessOptions options;
    options.input = input;
    return run(args, options);
  }

 private:
  const std::string config_;
};

}  // namespace

TEST_CASE("walign finish says what it will do, table by table, and wants the migration's name") {
  FinishBed bed(false);
  bed.cut_over();
  const Typed walign(bed);
  for (const char* wrong : {"y\n", "", "walign_m\n"}) {
    const auto refused = walign({"finish", "--yes"}, wrong);
    CHECK(refused.code == 2);
    CHECK(!std::filesystem::exists(bed.state()));
    CHECK(has(refused.err, "there is no way back"));
  }
  const auto asked = walign({"finish", "--archive", "--keep-for", "90d"}, "n\n");
  INFO(asked.err);
  CHECK(has(asked.err, "public.t"));
  CHECK(has(asked.err, "is renamed to p_archived_"));
  CHECK(has(asked.err, "so do partitions"));
  CHECK(has(asked.err, "table public.t_new"));
  CHECK(has(asked.err, "source: slot walign_m"));
  CHECK(has(asked.err, "the way back"));
  CHECK(bed.write(bed.source, "t") == "25006");
  const auto done = walign({"finish"}, "m\n");
  INFO(done.err);
  CHECK(done.code == 0);
  CHECK(has(done.out, "source: public.t is closed for good"));
  CHECK(has(done.out, "removed target: slot walign_m_reverse"));
  CHECK(text_of(things(bed.target.admin)).empty());
  const auto again = walign({"finish"});
  CHECK(again.code == 0);
  CHECK(has(again.out, "is finished already, and nothing is left to do"));
  const auto removed = walign({"remove", "--name", "m"});
  CHECK(removed.code == 3);
  CHECK(has(removed.err, "is finished"));
  const auto reopened = walign({"finish", "--reopen", "--name", "m"});
  CHECK(reopened.code == 0);
  CHECK(bed.write(bed.source, "t") == "ok");
}

TEST_CASE("walign finish exits 2 for options that do not go together and 3 where nothing was cut over") {
  FinishBed bed(false);
  const Typed walign(bed);
  for (const std::vector<std::string>& args :
       std::vector<std::vector<std::string>>{{"finish", "--archive", "--reopen"},
                                             {"finish", "--keep-for", "90d"},
                                             {"finish", "--archive", "--keep-for", "90"},
                                             {"finish", "--archive", "--keep-for", "0d"},
                                             {"finish", "--archive", "--keep-for", "9999999999d"},
                                             {"finish", "--archive", "--keep-for", "soon"}}) {
    INFO(args.back());
    CHECK(walign(args).code == 2);
  }
  const auto early = walign({"finish", "--name", "m"});
  CHECK(early.code == 3);
  CHECK(has(early.err, "walign cutover"));
  CHECK(!std::filesystem::exists(bed.state()));
}

TEST_CASE("walign remove takes the fence away too, and what is kept here of the way back") {
  FinishBed bed(false);
  bed.stands(RowState::open, RowState::closed);
  CHECK(bed.phase() == "new");
  for (const char* name : {"reverse/db", "reports", "journal", "spill"}) {
    std::filesystem::create_directories(bed.state() + "/" + name);
  }
  const Typed walign(bed);
  CHECK(walign({"remove"}, "x\n").code == 2);
  const auto removed = walign({"remove"}, "m\n");
  INFO(removed.err);
  CHECK(removed.code == 0);
  for (const char* line : {"removed target: 6 triggers of the fence", "removed source: the fence",
                           "removed source: slot walign_m", "removed target: slot walign_m_reverse",
                           "removed state directory"}) {
    INFO(removed.out);
    CHECK(has(removed.out, line));
  }
  CHECK(!std::filesystem::exists(bed.state()));
  CHECK(text_of(things(bed.source.admin)).empty());
  CHECK(text_of(things(bed.target.admin)).empty());
  CHECK(has(walign({"remove", "--name", "m"}).out, "nothing is left of it"));
}
