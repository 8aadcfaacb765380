#pragma once

#include <minions/base/fd.hpp>

#include <termios.h>

#include <csignal>
#include <initializer_list>
#include <optional>

namespace minions::cli {

struct TerminalSize {
    int rows = 24;
    int columns = 80;
};

/// Nullopt where `fd` is no terminal or does not know its size.
std::optional<TerminalSize> terminal_size(int fd);

/// A terminal that passes every key on, until this object is gone.
class RawTerminal {
  public:
    /// Throws std::system_error where `fd` is no terminal.
    explicit RawTerminal(int fd);
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;
    ~RawTerminal();

  private:
    int fd_;
    termios before_{};
};

/// Makes signals of this thread readable instead of deadly, until this object is gone.
class SignalReader {
  public:
    explicit SignalReader(std::initializer_list<int> signals);
    SignalReader(const SignalReader&) = delete;
    SignalReader& operator=(const SignalReader&) = delete;
    ~SignalReader();

    int fd() const noexcept { return fd_.get(); }
    /// The next signal that has come.
    std::optional<int> next();

  private:
    Fd fd_;
    sigset_t before_{};
};

}  // namespace minions::cli
