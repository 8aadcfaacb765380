#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace minions::core {

/// Encrypts single values for the database: AES-256-GCM with a random nonce for each, written as text.
/// Immutable; [any thread].
class Cipher {
  public:
    static constexpr std::size_t key_bytes = 32;
    using Key = std::array<unsigned char, key_bytes>;

    explicit Cipher(const Key& key) : key_(key) {}

    /// `context` is authenticated and not stored: a value moved to another row does not decrypt.
    std::string encrypt(std::string_view clear, std::string_view context) const;
    /// Throws unavailable for what this key, or this context, did not write.
    std::string decrypt(std::string_view text, std::string_view context) const;

  private:
    Key key_;
};

}  // namespace minions::core
