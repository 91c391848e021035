// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "failure.hpp"

#include <libpq-fe.h>

#include <map>

namespace walign::pg {

namespace {

// What to do about states that an operator meets; the server's own HINT goes first where it has one.
const std::map<std::string_view, const char*>& hints() {
  static const std::map<std::string_view, const char*> table = {
      {"28P01", "check the password in PGPASSFILE, PGSERVICEFILE or the environment"},
      {"28000",
       "check the role's name and pg_hba.conf: it must allow this user, database and address, and "
       "\"replication\" is not needed for logical replication of a database"},
      {"3D000", "check the database's name in walign.yaml, or create the database"},
      {"42501", "grant the role what the message names; `walign preflight` lists all that is needed"},
      {"22P05",
       "a character that this database's encoding does not have: make the target database again with "
       "ENCODING 'UTF8', or change the row on the source"},
      {"53300", "raise max_connections, or end idle connections"},
      {"53400",
       "raise max_replication_slots and max_wal_senders on the source and restart it, or drop a slot "
       "that nobody reads"},
      {"55000", "see the message; `walign preflight` says what the server must be set to"},
      {"58P01", "a file of the server is missing: look into its log"},
      {"53100", "make room on the server's disk; walign goes on from its position when it is started again"},
  };
  return table;
}

std::string field(const PGresult* result, int code) {
  const char* text = PQresultErrorField(result, code);
  return text == nullptr ? std::string() : std::string(text);
}

std::string hint_for(std::string_view state) {
  const auto found = hints().find(state);
  return found == hints().end() ? std::string() : found->second;
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

bool looks_like_state(std::string_view text) {
  return text.size() == 5 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
         });
}

// "FATAL:  28P01: message" anywhere in a verbose message; {state, message} of the last such line.
std::pair<std::string, std::string> state_in_message(const std::string& text) {
  std::pair<std::string, std::string> found;
  std::size_t at = 0;
  while (at < text.size()) {
    const auto end = std::min(text.find('\n', at), text.size());
    const std::string_view line(text.data() + at, end - at);
    for (auto colon = line.find(":  "); colon != std::string_view::npos;
         colon = line.find(":  ", colon + 1)) {
      const auto rest = line.substr(colon + 3);
      if (rest.size() > 7 && rest.substr(5, 2) == ": " && looks_like_state(rest.substr(0, 5))) {
        found = {std::string(rest.substr(0, 5)), std::string(rest.substr(7))};
      }
    }
    at = end + 1;
  }
  return found;
}

}  // namespace

ErrorKind kind_of_sqlstate(std::string_view state) {
  const auto in_class = [&](std::string_view prefix) { return state.substr(0, 2) == prefix; };
  if (state.empty() || in_class("08") || state.substr(0, 4) == "57P0") return ErrorKind::connection;
  if (in_class("40") || state == "53300" || state == "55006" || state == "55P03" || state == "57014") {
    return ErrorKind::transient;
  }
  if (in_class("28") || state == "3D000" || state == "42501" || state == "55000" || state == "53400") {
    return ErrorKind::precondition;
  }
  return ErrorKind::query;
}

std::string shorten(std::string_view sql) {
  constexpr std::size_t kMost = 120;
  std::string out(sql.substr(0, kMost));
  std::replace(out.begin(), out.end(), '\n', ' ');
  if (sql.size() > kMost) out += "...";
  return out;
}

Error error_of_result(const PGresult* result, std::string_view doing) {
  const std::string state = field(result, PG_DIAG_SQLSTATE);
  std::string message = field(result, PG_DIAG_MESSAGE_PRIMARY);
  if (message.empty()) message = trimmed(PQresultErrorMessage(result));
  if (const auto detail = field(result, PG_DIAG_MESSAGE_DETAIL); !detail.empty()) {
    message += cat(" (", detail, ")");
  }
  if (const auto context = field(result, PG_DIAG_CONTEXT); !context.empty() && state == "P0001") {
    message += cat(" [", context, "]");
  }
  std::string hint = field(result, PG_DIAG_MESSAGE_HINT);
  if (hint.empty()) hint = hint_for(state);
  if (hint.empty()) hint = "the server's log has the details";
  return Error(kind_of_sqlstate(state), cat(message, ", in: ", shorten(doing)), std::move(hint))
      .with_sqlstate(state);
}

Error error_of_connecting(const PGconn* conn, const std::string& where) {
  const std::string text = trimmed(PQerrorMessage(conn));
  const auto [state, message] = state_in_message(text);
  if (state.empty()) {
    return Error(ErrorKind::connection, cat("cannot connect to ", where, ": ", text),
                 "check that the server runs, its address and port, and that the network lets it through");
  }
  std::string hint = hint_for(state);
  if (hint.empty()) hint = "check the connection string in walign.yaml and the server's log";
  return Error(kind_of_sqlstate(state), cat("cannot connect to ", where, ": ", message), std::move(hint))
      .with_sqlstate(state);
}

}  // namespace walign::pg
