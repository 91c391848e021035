// Copyright the walign authors. SPDX-License-Identifier: Apache-2.0
#include "walign/cli.hpp"

int main(int argc, char** argv) { return walign::cli::main(argc, argv); }
