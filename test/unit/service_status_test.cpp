#include "service_test.hpp"

using namespace walign;
using namespace walign::service;

TEST_CASE("a status of which nothing is known yet has every field, null where it is not known") {
  CHECK(status_json(stream::Status()) == R"({
  "migration": "",
  "phase": "new",
  "direction": "forward",
  "next": {
    "text": "Connecting: wait.",
    "command": null
  },
  "source": {
    "lsn": null,
    "system_id": null
  },
  "received_lsn": null,
  "applied_lsn": null,
  "durable_lsn": null,
  "acknowledged_lsn": null,
  "lag": {
    "bytes": null,
    "seconds": null
  },
  "slot": {
    "name": null,
    "retained_bytes": null,
    "wal_status": null,
    "limited": null,
    "safe_bytes": null,
    "wal_bytes_per_second": null,
    "seconds_left": null
  },
  "tables": [],
  "writes": {
    "source": null,
    "target": null,
    "lease_until": null,
    "who": null
  },
  "epoch": null,
  "rollback": {
    "ready": null,
    "why": null,
    "lag_seconds": null
  },
  "gates": [],
  "gates_asked_at": null,
  "blockers": [],
  "dead_letters": null,
  "journal": {
    "from_lsn": null,
    "to_lsn": null,
    "bytes": null,
    "age_seconds": null
  },
  "cutover": {
    "lsn": null,
    "refused_ms": null,
    "steps": [],
    "running": false,
    "verb": null,
    "extent": null,
    "outcome": null,
    "message": null,
    "hint": null
  },
  "running": true,
  "transactions": 0,
  "rows_per_second": null,
  "connected": false,
  "listening": false,
  "paused": false,
  "backfill_paused": false,
  "last_error": null,
  "started_at": null,
  "stable_since": null,
  "now": null
}
)");
}

TEST_CASE("a status of which all is known says it, positions as PostgreSQL writes them") {
  CHECK(status_json(streaming_status()) == R"({
  "migration": "users-async",
  "phase": "streaming",
  "direction": "forward",
  "next": {
    "text": "Rows could not be applied: look at each, then retry or discard it.",
    "command": "walign dead-letters list"
  },
  "source": {
    "lsn": "0/1A0",
    "system_id": "7001"
  },
  "received_lsn": "0/190",
  "applied_lsn": "0/180",
  "durable_lsn": "0/170",
  "acknowledged_lsn": "0/16B3748",
  "lag": {
    "bytes": 32,
    "seconds": 0.5
  },
  "slot": {
    "name": "walign_users_async",
    "retained_bytes": 4096,
    "wal_status": "reserved",
    "limited": null,
    "safe_bytes": null,
    "wal_bytes_per_second": null,
    "seconds_left": null
  },
  "tables": [
    {
      "source": "public.users",
      "target": "public.<b>users</b>",
      "state": "streaming",
      "rows_copied": 500,
      "rows_estimated": 600,
      "chunks_done": 3,
      "chunks": 4,
      "rows_per_second": null,
      "seconds_left": null,
      "verified_at_lsn": "0/150",
      "differences": 2,
      "dirty_keys": 9,
      "books": {
        "decoded": 11,
        "applied": 7,
        "filtered": 2,
        "dropped": 1,
        "dead_letters": 1
      }
    }
  ],
  "writes": {
    "source": null,
    "target": null,
    "lease_until": null,
    "who": null
  },
  "epoch": 3,
  "rollback": {
    "ready": null,
    "why": null,
    "lag_seconds": null
  },
  "gates": [],
  "gates_asked_at": null,
  "blockers": [],
  "dead_letters": 1,
  "journal": {
    "from_lsn": "0/100",
    "to_lsn": "0/190",
    "bytes": 8192,
    "age_seconds": 7200.5
  },
  "cutover": {
    "lsn": null,
    "refused_ms": null,
    "steps": [],
    "running": false,
    "verb": null,
    "extent": null,
    "outcome": null,
    "message": null,
    "hint": null
  },
  "running": true,
  "transactions": 5,
  "rows_per_second": null,
  "connected": true,
  "listening": false,
  "paused": false,
  "backfill_paused": false,
  "last_error": null,
  "started_at": "2023-11-14T22:13:20.000001Z",
  "stable_since": null,
  "now": null
}
)");
}

TEST_CASE("a name that is not UTF-8 does not keep a status from being told") {
  auto status = streaming_status();
  status.tables[0].source = "public.\xff\xfe";
  CHECK(has(status_json(status), "public.\xEF\xBF\xBD"));
}

TEST_CASE("times are ISO 8601 in UTC, before 1970 too") {
  CHECK(iso_time(0) == "1970-01-01T00:00:00.000000Z");
  CHECK(iso_time(-1) == "1969-12-31T23:59:59.999999Z");
  CHECK(iso_time(951'827'696'123'456) == "2000-02-29T12:34:56.123456Z");
}

TEST_CASE("ready means streaming, not paused, and within gates.max_lag") {
  auto status = streaming_status();
  CHECK(!why_not_ready(status, 32));
  CHECK(has(why_not_ready(status, 31).value_or(""), "gates.max_lag"));
  SECTION("paused") {
    status.paused = true;
    CHECK(has(why_not_ready(status, 32).value_or(""), "paused"));
  }
  SECTION("not connected") {
    status.connected = false;
    status.last_error = "the server is down";
    CHECK(has(why_not_ready(status, 32).value_or(""), "the server is down"));
  }
  SECTION("lag not known yet") {
    status.lag_bytes.reset();
    CHECK(has(why_not_ready(status, 32).value_or(""), "not known"));
  }
  SECTION("another phase") {
    for (const char* phase : {"new", "backfilling", "finished", "removed"}) {
      status.phase = phase;
      CHECK(has(why_not_ready(status, 32).value_or(""), phase));
    }
  }
  SECTION("either way, and while the sides change") {
    for (const char* phase : {"streaming", "cutting_over", "cut_over", "rolling_back"}) {
      status.phase = phase;
      CHECK(!why_not_ready(status, 32));
    }
  }
  SECTION("neither direction is applied") {
    status.phase = "cutting_over";
    status.listening = true;
    CHECK(has(why_not_ready(status, 32).value_or(""), "neither direction"));
  }
}

TEST_CASE("a status tells who takes writes, the gates, who keeps them shut, and the steps") {
  stream::Status status;
  auto& sides = status.sides;
  sides.source = "FENCED";
  sides.target = "CLOSED";
  sides.lease_until_us = 1'700'000'010'000'000;
  sides.epoch = 7;
  sides.rollback_ready = false;
  sides.rollback_why = "a row was written on the closed side";
  sides.rollback_lag_seconds = 1.5;
  sides.gates = {{"lag_bytes", "9 bytes", "at most 8 bytes", false}};
  sides.blockers = {{42, "VACUUM users"}};
  sides.steps = {{"gate", "done", 3.5, 2.5}};
  sides.lsn = Lsn(0x30);
  sides.refused_ms = 84.5;
  Outlook outlook;
  outlook.gates_asked_at_us = 1'700'000'001'000'000;
  const auto json = status_json(status, outlook);
  for (const char* part : {R"("writes": {
    "source": "FENCED",
    "target": "CLOSED",
    "lease_until": "2023-11-14T22:13:30.000000Z",
    "who": "nobody: source FENCED, target CLOSED; the source takes them again from 2023-11-14T22:13:30.000000Z on"
  },
  "epoch": 7,
  "rollback": {
    "ready": false,
    "why": "a row was written on the closed side",
    "lag_seconds": 1.5
  },
  "gates": [
    {
      "name": "lag_bytes",
      "value": "9 bytes",
      "limit": "at most 8 bytes",
      "ok": false,
      "remedy": "wait until the stream has caught up; walign status says whether it is held or has an error"
    }
  ],
  "gates_asked_at": "2023-11-14T22:13:21.000000Z",
  "blockers": [
    {
      "pid": 42,
      "query": "VACUUM users"
    }
  ],
)",
                           R"("cutover": {
    "lsn": "0/30",
    "refused_ms": 84.5,
    "steps": [
      {
        "step": "gate",
        "text": "done",
        "at_ms": 3.5,
        "took_ms": 2.5
      }
    ],
    "running": false,
    "verb": null,
    "extent": null,
    "outcome": null,
    "message": null,
    "hint": null
  },
)"}) {
    INFO(json);
    CHECK(has(json, part));
  }
}
