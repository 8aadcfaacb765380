#pragma once

#include <minions/base/deadline.hpp>
#include <minions/base/fd.hpp>

namespace minions {

/// A flag that can be polled: once raised it stays readable until cleared. Serves as the cancel descriptor of
/// calls that take one. raise() is async-signal-safe; all members may be called from any thread.
class EventFd {
  public:
    /// Not raised. Throws std::system_error.
    EventFd();

    void raise() noexcept;
    void clear() noexcept;
    bool raised() const;
    /// Returns true once raised, false at the deadline.
    bool wait(Deadline deadline) const;

    /// To be polled for POLLIN; owned by this object.
    int fd() const noexcept { return fd_.get(); }

  private:
    Fd fd_;
};

}  // namespace minions
