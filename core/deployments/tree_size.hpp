#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>

namespace minions::core {

/// What tree_bytes() says of a tree that it cannot measure.
inline constexpr std::uint64_t unmeasurable = std::numeric_limits<std::uint64_t>::max();

/// Disk space of everything below `directory`, each entry counted with at least a page, so that a tree of
/// empty files has a size too. Follows no link and needs no absolute path, so that nothing hides behind a
/// long one. Stops counting beyond `enough`. What vanishes meanwhile is not counted; anything else that
/// cannot be looked at, and a tree of more than 256 levels, is `unmeasurable`. [any thread]
std::uint64_t tree_bytes(const std::filesystem::path& directory, std::uint64_t enough);

}  // namespace minions::core
