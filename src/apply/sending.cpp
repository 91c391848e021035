// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "sending.hpp"

namespace walign::apply {

pg::Pipeline& Sending::pipeline() {
  if (!pipeline_) pipeline_.emplace(connection_);
  return *pipeline_;
}

void Sending::send(const std::string& sql, const std::vector<pg::Param>& params) {
  pipeline().send(sql, params);
}

void Sending::send(const std::string& sql, const std::vector<std::string>& text_params) {
  std::vector<pg::Param> params;
  for (const auto& text : text_params) params.push_back({text, 0, false, false});
  send(sql, params);
}

void Sending::send(const Execution& e) {
  if (!e.copy.empty()) return copy(e);
  if (e.statement == nullptr) return send(e.sql, e.text_params);
  std::vector<pg::Param> params;
  for (const auto& array : e.arrays) params.push_back(array.param());
  params.push_back({e.count, 0, false, false});
  pipeline().send_prepared(e.statement->name, params);
}

void Sending::drain() {
  if (!pipeline_) return;
  try {
    auto results = pipeline_->finish();
    results_.insert(results_.end(), std::make_move_iterator(results.begin()),
                    std::make_move_iterator(results.end()));
  } catch (const Error&) {
    failed_index_ = results_.size() + pipeline_->failed_index();
    throw;
  }
  pipeline_.reset();
}

void Sending::copy(const Execution& e) {
  drain();
  failed_index_ = results_.size();
  pg::CopyIn in(connection_, e.sql);
  constexpr std::size_t kPiece = std::size_t{64} << 10U;
  for (std::size_t at = 0; at < e.copy.size(); at += kPiece)
    in.write(std::string_view(e.copy).substr(at, kPiece));
  const std::string rows = cat(in.finish());
  if (rows != e.count) {
    throw Error(
        ErrorKind::conflict,
        cat("insert into ", e.route->target.to_string(), ": ", rows, " of ", e.count, " rows were written"),
        "a trigger of the target that is enabled ALWAYS leaves rows out: disable it")
        .with_sqlstate(std::string(mapping::kWrongRowCount));
  }
  results_.emplace_back();
}

std::vector<pg::Result> Sending::finish() {
  drain();
  return std::move(results_);
}

}  // namespace walign::apply
