#pragma once

#include "core/api/table.hpp"

#include <vector>

namespace minions::core::api {

/// The one table of routes: the whole HTTP interface of the daemon.
const std::vector<ApiRoute>& routes();

}  // namespace minions::core::api
