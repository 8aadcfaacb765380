#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace minions::core {

/// Bytes that are overwritten before their memory is given back.
class SecretBytes {
  public:
    SecretBytes() = default;
    explicit SecretBytes(std::string bytes) : bytes_(std::move(bytes)) {}
    SecretBytes(SecretBytes&& other) noexcept;
    SecretBytes& operator=(SecretBytes&& other) noexcept;
    SecretBytes(const SecretBytes&) = delete;
    SecretBytes& operator=(const SecretBytes&) = delete;
    ~SecretBytes() { wipe(bytes_); }

    const std::string& text() const noexcept { return bytes_; }
    bool empty() const noexcept { return bytes_.empty(); }

    /// Overwrites and empties.
    static void wipe(std::string& text) noexcept;

  private:
    std::string bytes_;
};

/// The part of `path` below `key_dir`: itself if it is relative. Throws Error{invalid} about 'ssh_key_path'
/// for what is empty, outside, or has "..", and where no key directory is configured. Touches no file.
std::filesystem::path check_key_path(std::string_view path, const std::filesystem::path& key_dir);

/// Reads a private key below `key_dir`, following no link. Throws Error{invalid} unless it is a regular file
/// of root or of the daemon's own user, without rights for group or others, of at most 16 KiB. What is wrong
/// with a file is told, what is in it never.
SecretBytes read_key(std::string_view path, const std::filesystem::path& key_dir);

}  // namespace minions::core
