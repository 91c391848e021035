// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// obs: what an operator sees from outside: logs, metrics, progress. Knows nothing of PostgreSQL.
//
// Invariants
//  1. Logs and progress go to stderr only; stdout belongs to a command's data.
//  2. A log line is one line of valid UTF-8, whatever its fields hold: control characters and broken
//     UTF-8 are escaped, so nothing that a database holds can steer an operator's terminal.
//  3. Metric names begin with walign_ and end in their base unit (_bytes, _seconds; counters: _total).
//  4. A log line and a progress line never share a line of a terminal: each goes out in one write, and
//     the progress line is cleared before a log line and drawn again after it.
//
// Threads: everything here may be called from any thread. Metric objects live as long as their Metrics.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>

#include "walign/base.hpp"

namespace walign::obs {

// -------------------------------------------------------------------------------------------- logs

enum class Level { trace, debug, info, warn, error, off };
enum class LogFormat { text, json };

// nullopt for a word that is none of trace, debug, info, warn, error, off.
std::optional<Level> parse_level(std::string_view word);

// Once, at the start; before it, info and above are written as text.
void start_logging(Level level, LogFormat format);

struct Field {
  template <class Value>
  Field(std::string_view name_, const Value& value_) : name(name_), value(cat(value_)) {}
  Field(std::string_view name_, bool value_) : name(name_), value(value_ ? "true" : "false") {}
  std::string_view name;
  std::string value;
};

// text: 2026-01-31T12:00:00.123Z info  message name=value other="with spaces"
// json: {"time":"...","level":"info","message":"...","name":"value"}
// Text values are quoted where they are empty or have a space, a quote, an equals sign or anything
// escaped; inside quotes a quote and a backslash have a backslash before them. A field called time,
// level or message gets an underscore behind its name. The level has a colour on a terminal, unless
// NO_COLOR is set. In systemd's journal each line has its priority before it, and text has no time, which is the
// journal's (walign/systemd.hpp).
void log(Level level, std::string_view message, std::initializer_list<Field> fields = {});
inline void debug(std::string_view m, std::initializer_list<Field> f = {}) { log(Level::debug, m, f); }
inline void info(std::string_view m, std::initializer_list<Field> f = {}) { log(Level::info, m, f); }
inline void warn(std::string_view m, std::initializer_list<Field> f = {}) { log(Level::warn, m, f); }
inline void error(std::string_view m, std::initializer_list<Field> f = {}) { log(Level::error, m, f); }
// "DOING: MESSAGE" with the error's position (lsn), SQLSTATE and hint as fields, where it has them.
void log_error(Level level, std::string_view doing, const Error& error);

// ----------------------------------------------------------------------------------------- metrics

using Labels = std::map<std::string, std::string>;

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void add(double amount = 1) = 0;  // amount >= 0
  [[nodiscard]] virtual double value() const = 0;
};
class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void set(double value) = 0;
  [[nodiscard]] virtual double value() const = 0;
};
class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void observe(double value) = 0;
};

// A registry. Asking twice for the same name and labels gives the same object. A name that breaks
// invariant 3, or that is asked for as another kind of metric, is Error(bug).
class Metrics {
 public:
  Metrics();
  // The same registry; whatever is asked for here has these labels, too.
  Metrics(const Metrics& whole, const Labels& always);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter& counter(const std::string& name, const std::string& help, const Labels& labels = {});
  Gauge& gauge(const std::string& name, const std::string& help, const Labels& labels = {});
  // `bounds`: the upper bounds of the buckets, ascending.
  Histogram& histogram(const std::string& name, const std::string& help, const std::vector<double>& bounds,
                       const Labels& labels = {});
  // Prometheus' text format (version 0.0.4).
  [[nodiscard]] std::string text() const;

 private:
  [[nodiscard]] Labels with_always(const Labels& labels) const;

  struct Registry;
  std::shared_ptr<Registry> registry_;
  const Labels always_;
};

// ---------------------------------------------------------------------------------------- progress

// One line of progress. Where stderr is a terminal it is redrawn in place, at most 20 times a second,
// cut to the terminal's width; where it is not, it is written at most every `line_every` (as a log line
// of level info where logs are json, so that every line there is json, or go to the journal). The last
// line shown is always written in the end.
class Progress {
 public:
  explicit Progress(std::chrono::milliseconds line_every = std::chrono::seconds(10));
  ~Progress();  // ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // `line` is complete text without a newline; shown now or later, as the invariants above say.
  void show(const std::string& line);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace walign::obs
