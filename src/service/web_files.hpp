// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
//
// The files of web/, defined in a source that the build writes.
#pragma once

#include <string_view>

namespace walign::service::web {

extern const std::string_view kIndexHtml;
extern const std::string_view kDashboardCss;
extern const std::string_view kDashboardJs;
extern const std::string_view kChartJs;
extern const std::string_view kIconSvg;

}  // namespace walign::service::web
