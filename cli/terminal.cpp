#include "cli/terminal.hpp"

#include <sys/ioctl.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <system_error>

namespace minions::cli {

std::optional<TerminalSize> terminal_size(int fd) {
    winsize size{};
    if (fd < 0 || ::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0)
        return std::nullopt;
    return TerminalSize{size.ws_row, size.ws_col};
}

RawTerminal::RawTerminal(int fd) : fd_(fd) {
    if (::tcgetattr(fd, &before_) != 0) throw std::system_error(errno, std::generic_category(), "terminal");
    termios raw = before_;
    ::cfmakeraw(&raw);
    if (::tcsetattr(fd, TCSADRAIN, &raw) != 0)
        throw std::system_error(errno, std::generic_category(), "terminal");
}

RawTerminal::~RawTerminal() { ::tcsetattr(fd_, TCSADRAIN, &before_); }

SignalReader::SignalReader(std::initializer_list<int> signals) {
    sigset_t read_here{};
    ::sigemptyset(&read_here);
    for (const int signal : signals) ::sigaddset(&read_here, signal);
    fd_.reset(::signalfd(-1, &read_here, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd_) throw std::system_error(errno, std::generic_category(), "signalfd");
    ::pthread_sigmask(SIG_BLOCK, &read_here, &before_);
}

SignalReader::~SignalReader() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

std::optional<int> SignalReader::next() {
    signalfd_siginfo info{};
    if (::read(fd_.get(), &info, sizeof info) != sizeof info) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
}

}  // namespace minions::cli
