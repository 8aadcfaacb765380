#pragma once

#include "core/access/principal.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace minions::core {

/// What is kept of a bearer token: never the token itself.
struct Token {
    std::string id;
    std::string name;
    std::string hash;  ///< hash_token() of it
    Scope scope = Scope::read;
    std::optional<std::chrono::system_clock::time_point> expires;
};

/// Where tokens are kept. [any thread]
class TokenStore {
  public:
    virtual ~TokenStore() = default;
    /// The token of that hash_token(), expired or not.
    virtual std::optional<Token> find(std::string_view hash) = 0;
};

/// A new token: "mn_" and 256 bits of getrandom() in base64url. Throws std::system_error.
std::string generate_token();

/// SHA-256 in lower-case hexadecimal. A random token needs no salt and no slow hash.
std::string hash_token(std::string_view token);

/// Takes a time that depends on the sizes only.
bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

}  // namespace minions::core
