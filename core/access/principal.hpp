#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace minions::core {

/// What a caller may do. Each scope includes those before it.
enum class Scope : std::uint8_t { read, exec, manage, admin };

constexpr bool includes(Scope held, Scope needed) noexcept { return held >= needed; }

/// "read", "exec", "manage", "admin".
std::string_view to_word(Scope scope) noexcept;
std::optional<Scope> scope_from_word(std::string_view word) noexcept;

/// Who calls, once access has been checked. `name` is for logs and records: "root", "uid 1000", "token ci",
/// "100.64.1.2".
struct Principal {
    std::string name;
    Scope scope = Scope::read;
};

}  // namespace minions::core
