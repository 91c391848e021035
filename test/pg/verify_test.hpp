// What the tests of verification share: a migration that copies, streams and verifies, in the test's own process.
#pragma once

#include "support/copying.hpp"
#include "walign/verify.hpp"

namespace walign::test {

class Verifying {
 public:
  explicit Verifying(const Migration& m) : Verifying(m, backfill::make(false)) {}
  ~Verifying() {
    stop_.raise();
    if (thread_.joinable()) thread_.join();
  }
  Verifying(const Verifying&) = delete;
  Verifying& operator=(const Verifying&) = delete;

  [[nodiscard]] stream::Status status() const { return sidecar_->status(); }
  [[nodiscard]] stream::TableStatus table(std::size_t i = 0) const { return status().tables.at(i); }
  void wait_until_copied() {
    if (!eventually([&] { return done_.load() || (status().connected && status().phase == "streaming"); },
                    60s))
      throw std::runtime_error("not copied: " + status().last_error);
    throw_if_ended();
  }
  void pause_backfill(bool pause) { sidecar_->pause_backfill(pause); }
  void catch_up(Sql& source) {
    source.exec("SELECT pg_logical_emit_message(true, 'test', 'catch up')");
    const auto end = Lsn::parse(source.scalar("SELECT pg_current_wal_insert_lsn()::text"));
    if (!eventually([&] { return done_.load() || status().applied >= end->without_page_header(); }, 60s, 5ms))
      throw std::runtime_error("did not catch up: " + status().last_error);
    throw_if_ended();
  }
  verify::Report verify(const verify::Request& request = {}, Millis timeout = 120s) {
    const auto id = verifier_->begin(request);
    if (!eventually([&] { return done_.load() || verifier_->result(id).done; }, timeout, 2ms))
      throw std::runtime_error("not verified:\n" + describe(verifier_->result(id)));
    throw_if_ended();
    return verifier_->result(id);
  }
  verify::Report all() { return verify({{}, true, false, {}}); }
  void stop() {
    stop_.raise();
    thread_.join();
    if (error_ && error_->kind() != ErrorKind::interrupted) throw std::runtime_error(error_->describe());
  }
  [[nodiscard]] verify::Verifier& verifier() { return *verifier_; }

  static std::string describe(const verify::Report& report) {
    std::string out;
    for (const auto& t : report.tables) {
      out += t.table + " " + t.state + (t.error.empty() ? "" : " (" + t.error + ")") + ": " +
             std::to_string(t.rows) + " rows, " + std::to_string(t.differences) + " differences, " +
             std::to_string(t.violations) + " violations\n";
      for (const auto& d : t.kept) out += "  " + d.ShortDebugString() + "\n";
      for (const auto& n : t.notes) out += "  " + n + "\n";
    }
    return out;
  }
  obs::Metrics metrics;

 private:
  Verifying(const Migration& m, std::unique_ptr<stream::Companion> copier)
      : copier_(std::move(copier)), verifier_(verify::make(copier_.get())) {
    stream::Options options;
    options.companions = {verifier_.get(), copier_.get()};
    options.config = m.config();
    options.stop = &stop_;
    options.metrics = &metrics;
    sidecar_ = std::make_unique<stream::Sidecar>(std::move(options));
    thread_ = std::thread([this] {
      try {
        sidecar_->run();
      } catch (const Error& error) {
        error_ = error;
      }
      done_.store(true);
    });
  }
  void throw_if_ended() const {
    if (done_ && error_) throw std::runtime_error(error_->describe());
  }
  Interrupt stop_;
  std::unique_ptr<stream::Companion> copier_;
  std::unique_ptr<verify::Verifier> verifier_;
  std::unique_ptr<stream::Sidecar> sidecar_;
  std::atomic<bool> done_{false};
  std::optional<Error> error_;
  std::thread thread_;
};

// KIND key=value column:source>target ..., sorted; NULL or nothing as -.
inline std::vector<std::string> texts(const verify::TableReport& report) {
  std::vector<std::string> out;
  for (const auto& d : report.kept) {
    std::string text = v1::Difference::Kind_Name(d.kind());
    for (const auto& k : d.key()) text += " " + k.column() + "=" + (k.has_source() ? k.source() : k.target());
    if (d.kind() == v1::Difference::DIFFERENT || d.kind() == v1::Difference::LOOKUP) {
      for (const auto& c : d.columns()) {
        text += " " + c.column() + ":" + (c.has_source() ? c.source().substr(0, 20) : "-") + ">" +
                (c.has_target() ? c.target().substr(0, 20) : "-");
      }
    }
    out.push_back(text);
  }
  std::sort(out.begin(), out.end());
  return out;
}

}  // namespace walign::test
