// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// What works beside the stream, all of it as one.
#pragma once

#include "walign/stream.hpp"

namespace walign::stream {

class Companions {
 public:
  explicit Companions(const std::vector<Companion*>& all) : all_(all) {}

  void start(const Companion::Session& session) {
    for (auto* c : all_) c->start(session);
  }
  void stop() {
    for (auto* c : all_) c->stop();
  }
  [[nodiscard]] bool active() const {
    return std::any_of(all_.begin(), all_.end(), [](const auto* c) { return c->active(); });
  }
  // The one that copies old rows, if there is one; whether it has some left.
  [[nodiscard]] Companion* copier() const {
    const auto found = std::find_if(all_.begin(), all_.end(), [](const auto* c) { return c->copies_rows(); });
    return found == all_.end() ? nullptr : *found;
  }
  [[nodiscard]] bool copying() const {
    return std::any_of(all_.begin(), all_.end(),
                       [](const auto* c) { return c->copies_rows() && c->active(); });
  }

  // Nothing where one of them says to wait; then wait() waits for that one.
  std::optional<Companion::Judgement> judge(const event::TransactionPart& part, Xid xid) {
    Companion::Judgement out;
    for (auto* c : all_) {
      if (!c->active()) continue;
      auto judgement = c->judge(part, xid);
      if (!judgement) {
        in_the_way_ = c;
        return std::nullopt;
      }
      move_into(out.exceptions, judgement->exceptions);
      move_into(out.extra, judgement->extra);
      out.alone = out.alone || judgement->alone;
    }
    return out;
  }
  void wait(std::chrono::milliseconds timeout) {
    if (in_the_way_ != nullptr) in_the_way_->wait(timeout);
  }

  void taken(const event::TransactionPart& part, std::optional<Xid> xid) {
    for (auto* c : all_) c->taken(part, xid);
  }
  void before_commit(Lsn progress) {
    for (auto* c : all_) c->before_commit(progress);
  }
  void committed(Lsn position, Lsn reached, std::optional<Xid> next) {
    for (auto* c : all_) c->committed(position, reached, next);
  }
  void listening(bool listens) {
    for (auto* c : all_) c->listening(listens);
  }
  void equal(Lsn at) {
    for (auto* c : all_) c->equal(at);
  }
  [[nodiscard]] Lsn awaited() const {
    Lsn furthest;
    for (const auto* c : all_) furthest = std::max(furthest, c->awaited());
    return furthest;
  }
  void check() {
    for (auto* c : all_) c->check();
  }
  void lag(std::int64_t bytes) {
    for (auto* c : all_) c->lag(bytes);
  }
  void report(Status& status) const {
    for (const auto* c : all_) c->report(status);
  }

 private:
  template <class T>
  static void move_into(std::vector<T>& all, std::vector<T>& more) {
    if (all.empty()) {
      all = std::move(more);
    } else {
      all.insert(all.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
    }
  }

  const std::vector<Companion*>& all_;
  Companion* in_the_way_ = nullptr;
};

}  // namespace walign::stream
