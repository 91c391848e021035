// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What a server or libpq reported, as an Error.
#pragma once

#include "walign/pg.hpp"

// libpq's PGresult and PGconn, so that who only wants the kinds needs no libpq.
struct pg_conn;
struct pg_result;

namespace walign::pg {

ErrorKind kind_of_sqlstate(std::string_view state);
// `doing` is what was tried: "connecting to db1:5432/app as walign", or the statement's first words.
Error error_of_result(const pg_result* result, std::string_view doing);
// After a failed PQconnectPoll with verbosity PQERRORS_VERBOSE, which puts the SQLSTATE into the message.
Error error_of_connecting(const pg_conn* conn, const std::string& where);
// The first line of a statement, shortened, for messages.
std::string shorten(std::string_view sql);

}  // namespace walign::pg
