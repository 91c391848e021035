#include <thread>

#include "support/catch.hpp"
#include "walign/obs.hpp"

using namespace walign;
using namespace walign::obs;

namespace {

bool has_line(const std::string& text, const std::string& line) {
  INFO(text);
  return ("\n" + text).find("\n" + line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("metrics are written in Prometheus' text format") {
  Metrics metrics;
  metrics.counter("walign_rows_total", "Rows applied.", {{"table", "public.a"}, {"direction", "forward"}})
      .add(3);
  metrics.gauge("walign_lag_bytes", "Lag.").set(1.5);
  auto& seconds = metrics.histogram("walign_batch_seconds", "Time of a batch.", {0.1, 1});
  seconds.observe(0.05);
  seconds.observe(0.5);
  seconds.observe(5);
  const auto text = metrics.text();
  CHECK(has_line(text, "# HELP walign_rows_total Rows applied."));
  CHECK(has_line(text, "# TYPE walign_rows_total counter"));
  CHECK(has_line(text, R"(walign_rows_total{direction="forward",table="public.a"} 3)"));
  CHECK(has_line(text, "# TYPE walign_lag_bytes gauge"));
  CHECK(has_line(text, "walign_lag_bytes 1.5"));
  CHECK(has_line(text, "# TYPE walign_batch_seconds histogram"));
  CHECK(has_line(text, R"(walign_batch_seconds_bucket{le="0.1"} 1)"));
  CHECK(has_line(text, R"(walign_batch_seconds_bucket{le="1"} 2)"));
  CHECK(has_line(text, R"(walign_batch_seconds_bucket{le="+Inf"} 3)"));
  CHECK(has_line(text, "walign_batch_seconds_count 3"));
}

TEST_CASE("label values are escaped") {
  Metrics metrics;
  metrics.gauge("walign_chunks", "Chunks.", {{"table", "a\"b\\c\nd"}}).set(1);
  CHECK(has_line(metrics.text(), R"(walign_chunks{table="a\"b\\c\nd"} 1)"));
}

TEST_CASE("asking twice for a metric gives the same one, other labels another") {
  Metrics metrics;
  auto& first = metrics.counter("walign_rows_total", "Rows.", {{"table", "a"}});
  auto& other = metrics.counter("walign_rows_total", "Rows.", {{"table", "b"}});
  CHECK(&metrics.counter("walign_rows_total", "Rows.", {{"table", "a"}}) == &first);
  CHECK(&other != &first);
  first.add();
  first.add(2);
  CHECK(first.value() == 3);
  CHECK(other.value() == 0);
  auto& gauge = metrics.gauge("walign_lag_bytes", "Lag.");
  gauge.set(7);
  CHECK(metrics.gauge("walign_lag_bytes", "Lag.").value() == 7);
  auto& histogram = metrics.histogram("walign_batch_rows", "Rows of a batch.", {1, 10});
  CHECK(&metrics.histogram("walign_batch_rows", "Rows of a batch.", {1, 10}) == &histogram);
}

TEST_CASE("a metric that breaks the rules is a defect") {
  Metrics metrics;
  CHECK_THROWS_AS(metrics.counter("rows_total", "Rows."), Error);
  CHECK_THROWS_AS(metrics.counter("walign_rows", "Rows."), Error);
  CHECK_THROWS_AS(metrics.gauge("walign_", "Nothing."), Error);
  CHECK_THROWS_AS(metrics.gauge("walign_lag bytes", "Lag."), Error);
  CHECK_THROWS_AS(metrics.histogram("walign_batch_rows", "Rows.", {}), Error);
  CHECK_THROWS_AS(metrics.histogram("walign_batch_rows", "Rows.", {2, 1}), Error);
  metrics.gauge("walign_lag_bytes", "Lag.");
  CHECK_THROWS_AS(metrics.histogram("walign_lag_bytes", "Lag.", {1}), Error);
  CHECK_THROWS_AS(metrics.counter("walign_rows_total", "Rows.").add(-1), Error);
}

TEST_CASE("metrics are counted and read from many threads") {
  Metrics metrics;
  constexpr int kThreads = 4;
  constexpr int kAdds = 2000;
  std::atomic<int> empty{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kAdds; ++i) {
        metrics.counter("walign_rows_total", "Rows.").add();
        metrics.gauge("walign_lag_bytes", "Lag.", {{"thread", std::to_string(t)}}).set(i);
        if (i % 100 == 0 && metrics.text().empty()) ++empty;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  CHECK(empty == 0);
  CHECK(metrics.counter("walign_rows_total", "Rows.").value() == kThreads * kAdds);
}
