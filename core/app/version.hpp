#pragma once

namespace minions::core {

/// The version of the daemon and the CLI, "0.1.0".
const char* version();

}  // namespace minions::core
