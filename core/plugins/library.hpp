#pragma once

#include <minions/abi.h>

#include <string>

namespace minions::core {

/// Loads a shared object for the rest of the process's life (RTLD_NOW, RTLD_LOCAL) and returns what its entry
/// function returns, unchecked. `path` is absolute. Throws Refusal (load_failed with the linker's own words,
/// no_entry).
const minions_plugin* load_plugin(const std::string& path);

}  // namespace minions::core
