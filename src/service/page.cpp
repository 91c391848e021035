// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The dashboard: files of web/, which the build makes part of the program (cmake/embed.cmake).
#include "exchange.hpp"
#include "web_files.hpp"

namespace walign::service {

std::optional<Answer> page(std::string_view path) {
  const auto file = [](const char* type, std::string_view text) {
    return Answer{200, type, std::string(text)};
  };
  if (path == "/") return file("text/html; charset=utf-8", web::kIndexHtml);
  if (path == "/dashboard.css") return file("text/css; charset=utf-8", web::kDashboardCss);
  if (path == "/dashboard.js") return file("text/javascript; charset=utf-8", web::kDashboardJs);
  if (path == "/chart.js") return file("text/javascript; charset=utf-8", web::kChartJs);
  if (path == "/icon.svg") return file("image/svg+xml", web::kIconSvg);
  return std::nullopt;
}

}  // namespace walign::service
