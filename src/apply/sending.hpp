// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The statements of one target transaction on their way: in a pipeline, or in several where a COPY is between them.
#pragma once

#include "encode.hpp"

namespace walign::apply {

class Sending {
 public:
  explicit Sending(pg::Connection& connection) : connection_(connection) {}

  void send(const std::string& sql, const std::vector<pg::Param>& params = {});
  void send(const std::string& sql, const std::vector<std::string>& text_params);
  void send(const Execution& execution);
  // The results of all in order; a COPY's is empty. What fails is thrown here, or in send(), which may wait.
  std::vector<pg::Result> finish();

  [[nodiscard]] std::size_t sent() const { return results_.size() + (pipeline_ ? pipeline_->sent() : 0); }
  // Of what was thrown.
  [[nodiscard]] std::size_t failed_index() const { return failed_index_; }

 private:
  pg::Pipeline& pipeline();
  void drain();
  void copy(const Execution& execution);

  pg::Connection& connection_;
  std::optional<pg::Pipeline> pipeline_;
  std::vector<pg::Result> results_;
  std::size_t failed_index_ = 0;
};

}  // namespace walign::apply
