#include "core/access/principal.hpp"

#include <iterator>

namespace minions::core {
namespace {

constexpr std::string_view words[] = {"read", "exec", "manage", "admin"};

}

std::string_view to_word(Scope scope) noexcept { return words[static_cast<std::size_t>(scope)]; }

std::optional<Scope> scope_from_word(std::string_view word) noexcept {
    for (std::size_t i = 0; i < std::size(words); ++i) {
        if (words[i] == word) return static_cast<Scope>(i);
    }
    return std::nullopt;
}

}  // namespace minions::core
