// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// /v1/events: server-sent events. Each look at the status is one event; where there is no new one (the status cannot be
// told), a sign of life comes instead, so that a reader can tell a silent sidecar from a lost connection.
#include "exchange.hpp"
#include "observer.hpp"

namespace walign::service {

namespace {

constexpr std::chrono::milliseconds kOneWait(250);  // a server that stops waits for that long
constexpr std::chrono::seconds kSignOfLife(2);

// A place among those who read, given back when its reader has gone.
class Place {
 public:
  explicit Place(std::shared_ptr<std::atomic<int>> taken) : taken_(std::move(taken)), number_(++*taken_) {}
  ~Place() { --*taken_; }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  [[nodiscard]] bool given() const { return number_ <= kEventReaders; }

 private:
  std::shared_ptr<std::atomic<int>> taken_;
  int number_;
};

// What one reader gets. He reads the newest look whenever he comes to it: looks that he missed are not kept for him.
class Reading {
 public:
  Reading(std::shared_ptr<Observer> observer, std::shared_ptr<Place> place)
      : observer_(std::move(observer)), place_(std::move(place)) {}

  std::string operator()() {
    const auto seen = observer_->after(number_, kOneWait);
    const auto now = std::chrono::steady_clock::now();
    if (!seen) {
      if (now - last_ < kSignOfLife) return "";
      last_ = now;
      return "event: alive\ndata: {}\n\n";
    }
    number_ = seen->number;
    last_ = now;
    return cat("event: status\ndata: ", one_line(*seen->status), "\n\n");
  }

 private:
  static std::string_view one_line(std::string_view json) {
    return json.substr(0, json.find_last_not_of('\n') + 1);  // within strings JSON has none
  }

  std::shared_ptr<Observer> observer_;
  std::shared_ptr<Place> place_;
  std::uint64_t number_ = 0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace

Respond events_responder(std::shared_ptr<Observer> observer) {
  return [observer = std::move(observer),
          taken = std::make_shared<std::atomic<int>>(0)](const Request& /*request*/) -> Answer {
    auto place = std::make_shared<Place>(taken);
    if (!place->given()) {
      return error_answer(503, cat("there are ", kEventReaders, " readers of events already"),
                          "close another page of this dashboard, or ask /v1/status now and then");
    }
    return {200, "text/event-stream", "retry: 1000\n\n", Reading(observer, std::move(place))};
  };
}

std::string status_with_outlook(const Handlers& handlers) {
  const auto status = handlers.status();
  return status_json(status, handlers.observer ? handlers.observer->outlook() : Outlook());
}

}  // namespace walign::service
