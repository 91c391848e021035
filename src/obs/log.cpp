// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// spdlog does levels, time stamps and the way to the sink; what a line looks like is made here, because
// fields must be escaped before they meet anything that interprets text.
#include "obs/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>

#include <array>

#include "obs/escape.hpp"
#include "obs/terminal.hpp"
#include "walign/systemd.hpp"

namespace walign::obs {

namespace {

class TerminalSink final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  TerminalSink(const char* pattern, const char* journal_pattern)
      : base_sink(formatter_of(pattern)), journal_(formatter_of(journal_pattern)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    const bool to_journal = stderr_is_journal();
    (to_journal ? journal_ : formatter_)->format(message, line);
    const std::string_view text(line.data(), line.size());
    Terminal::stderr_terminal().write_line(to_journal ? cat(priority(message.level), text)
                                                      : std::string(text));
  }
  void flush_() override {}

 private:
  static std::unique_ptr<spdlog::formatter> formatter_of(const char* pattern) {
    return std::make_unique<spdlog::pattern_formatter>(pattern, spdlog::pattern_time_type::utc);
  }
  static const char* priority(spdlog::level::level_enum level) {
    if (level >= spdlog::level::err) return "<3>";
    if (level == spdlog::level::warn) return "<4>";
    return level == spdlog::level::info ? "<6>" : "<7>";
  }

  const std::unique_ptr<spdlog::formatter> journal_;
};

constexpr const char* kTextPattern = "%Y-%m-%dT%H:%M:%S.%eZ %v";
constexpr const char* kJournalPattern = "%v";  // which has the time
constexpr const char* kJsonPattern = R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ",%v})";

struct Logs {
  spdlog::logger text{"text", std::make_shared<TerminalSink>(kTextPattern, kJournalPattern)};
  spdlog::logger json{"json", std::make_shared<TerminalSink>(kJsonPattern, kJsonPattern)};
  std::atomic<LogFormat> format{LogFormat::text};

  spdlog::logger& current() { return format.load() == LogFormat::json ? json : text; }
};

// Never destroyed, as the terminal.
Logs& logs() {
  static auto* all = new Logs;
  return *all;
}

struct LevelLook {
  const char* word;
  const char* padded;
  const char* colour;
  spdlog::level::level_enum level;
};
constexpr std::array<LevelLook, 6> kLevels = {{
    {"trace", "trace", "\x1b[2m", spdlog::level::trace},
    {"debug", "debug", "\x1b[2m", spdlog::level::debug},
    {"info", "info ", "\x1b[32m", spdlog::level::info},
    {"warn", "warn ", "\x1b[33m", spdlog::level::warn},
    {"error", "error", "\x1b[31m", spdlog::level::err},
    {"off", "off  ", "", spdlog::level::off},
}};

const LevelLook& look(Level level) { return kLevels[static_cast<std::size_t>(level)]; }

std::string as_text(Level level, std::string_view message, std::span<const Field> fields) {
  const auto& [word, padded, colour, unused] = look(level);
  std::string out = Terminal::has_colours() ? cat(colour, padded, "\x1b[0m") : std::string(padded);
  out += cat(' ', escape_text(message));
  for (const auto& field : fields) out += cat(' ', escape_text(field.name), '=', quote_text(field.value));
  return out;
}

bool is_reserved(std::string_view name) { return name == "time" || name == "level" || name == "message"; }

std::string as_json(Level level, std::string_view message, std::span<const Field> fields) {
  std::string out = cat(R"("level":")", look(level).word, R"(","message":)", quote_json(message));
  for (const auto& field : fields) {
    const std::string name = cat(field.name, is_reserved(field.name) ? "_" : "");
    out += cat(',', quote_json(name), ':', quote_json(field.value));
  }
  return out;
}

void write(Level level, std::string_view message, std::span<const Field> fields) {
  auto& logger = logs().current();
  if (level == Level::off || !logger.should_log(look(level).level)) return;
  const bool json = &logger == &logs().json;
  const std::string line = json ? as_json(level, message, fields) : as_text(level, message, fields);
  logger.log(look(level).level, spdlog::string_view_t(line));
}

}  // namespace

LogFormat log_format() { return logs().format.load(); }

std::optional<Level> parse_level(std::string_view word) {
  for (std::size_t i = 0; i < kLevels.size(); ++i) {
    if (word == kLevels[i].word) return static_cast<Level>(i);
  }
  return std::nullopt;
}

void start_logging(Level level, LogFormat format) {
  logs().text.set_level(look(level).level);
  logs().json.set_level(look(level).level);
  logs().format.store(format);
}

void log(Level level, std::string_view message, std::initializer_list<Field> fields) {
  write(level, message, {fields.begin(), fields.size()});
}

void log_error(Level level, std::string_view doing, const Error& error) {
  std::vector<Field> fields;
  if (error.position().valid()) fields.emplace_back("lsn", error.position());
  if (!error.sqlstate().empty()) fields.emplace_back("sqlstate", error.sqlstate());
  if (!error.hint().empty()) fields.emplace_back("hint", error.hint());
  write(level, doing.empty() ? error.message() : cat(doing, ": ", error.message()), fields);
}

}  // namespace walign::obs
