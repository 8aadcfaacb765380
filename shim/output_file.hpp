#pragma once

#include <minions/base/fd.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace minions::shim {

/// Takes what a process prints, in a file that goes on where the last process of the role ended. At its bound
/// it becomes `<path>.1`, in place of the one before, and a new one is begun. Made with the first byte.
class OutputFile {
  public:
    OutputFile(std::string path, std::size_t bound) : path_(std::move(path)), bound_(bound) {}

    /// What cannot be written is dropped: a full disk must not stop the process.
    void write(std::string_view piece) noexcept;

  private:
    bool open() noexcept;
    bool rotate() noexcept;

    std::string path_;
    std::size_t bound_;
    Fd file_;
    std::size_t size_ = 0;
};

}  // namespace minions::shim
