#pragma once

#include "core/store/cipher.hpp"

#include <minions/base/fd.hpp>

#include <cstdint>
#include <filesystem>
#include <string>

/// The files beside the database.
namespace minions::core {

/// Makes the directory (0711 for root, whose VMMs pass through it; else 0700) if it is not there and locks
/// its file `lock` for the life of the descriptor. Throws conflict that names the holder's pid, no_space,
/// forbidden.
Fd lock_directory(const std::filesystem::path& directory);

/// Reads the key file. With `make` it is made if absent; without, its absence throws unavailable. A file that
/// others can read, or of another size, is refused.
Cipher::Key read_key(const std::filesystem::path& file, bool make);

/// Makes the file if it is not there, and lets only its owner read it. To be called before SQLite opens it,
/// which gives the files beside it the same mode; those that an earlier daemon left are protected too.
void protect_database(const std::filesystem::path& file);

/// Flushes a file or directory to the disk. Throws.
void sync_path(const std::filesystem::path& path);

/// Space set aside on the disk, so that there is some when it is full. Not thread-safe.
class Reserve {
  public:
    Reserve(std::filesystem::path file, std::uint64_t bytes);
    /// Gives the space back to the disk. False if there was none.
    bool release() noexcept;
    /// Sets the space aside again, once twice as much is free. Never throws: without it the store works too.
    void refill() noexcept;
    bool held() const noexcept { return held_; }

  private:
    std::filesystem::path file_;
    std::uint64_t bytes_;
    bool held_ = false;
};

}  // namespace minions::core
