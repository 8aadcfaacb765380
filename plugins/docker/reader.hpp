#pragma once

#include <minions/base/fd.hpp>
#include <minions/context.hpp>

#include <csignal>
#include <string_view>

/// Writing to descriptors of the daemon's clients: with back-pressure, but never past the end of the call.
namespace minions::docker {

/// How long somebody is ready to wait, and for what not.
struct Patience {
    SteadyTime deadline;
    int cancel_fd = -1;  ///< readable: stop now; -1: nobody can

    static Patience of(const Context& context) { return {context.deadline(), context.cancel_fd()}; }
    /// The same, but at most this long from now.
    Patience at_most(milliseconds span) const;
    /// For cleaning up after a call that was cancelled or ran out of time.
    static Patience for_cleanup(milliseconds span);
};

/// Writes at most what fits without blocking to a descriptor that poll() called writable. Returns the number
/// of bytes written, 0 if nothing fits now, -1 if the reader is gone. Throws std::system_error.
ssize_t write_some(int fd, std::string_view bytes);

/// Writes all of it. Returns false if the reader is gone. Throws Error{cancelled} or Error{deadline}.
bool write_patiently(int fd, std::string_view bytes, const Patience& patience);

/// A descriptor that becomes readable when another does or when a reader of ours goes away: lets one wait
/// that takes a single cancel descriptor watch both.
class Interrupts {
  public:
    explicit Interrupts(int cancel_fd);
    /// Also when the reader of this pipe or socket is gone. Other kinds of files never lose their reader.
    void watch_reader(int fd);
    int fd() const noexcept { return epoll_.get(); }

  private:
    Fd epoll_;
};

/// Whether a pipe or socket that we write to has lost its reader.
bool reader_gone(int fd) noexcept;

/// Keeps SIGPIPE from this thread while it lives, whatever the process does with that signal.
class NoSigpipe {
  public:
    NoSigpipe();
    ~NoSigpipe();
    NoSigpipe(const NoSigpipe&) = delete;
    NoSigpipe& operator=(const NoSigpipe&) = delete;

  private:
    sigset_t before_{};
    bool was_pending_ = false;
};

}  // namespace minions::docker
