#pragma once

#include <minions/base/fd.hpp>
#include <minions/context.hpp>
#include <minions/value.hpp>

#include <deque>
#include <functional>
#include <optional>
#include <string>

namespace minions::qemu {

/// One conversation with a QEMU over its QMP socket (QEMU's docs/interop/qmp-spec). QEMU speaks to one at a
/// time: the next waits until this one is destroyed. Used by one thread.
class Qmp {
  public:
    /// Connects and agrees on the protocol. Throws unavailable, deadline, cancelled.
    Qmp(const Context& ctx, const std::string& socket);

    /// Runs a command and gives its result. Throws Error{failed} with what QEMU said. `pass` (borrowed) goes
    /// along with it.
    Value run(const char* command, Value arguments = Value::object(), int pass = -1);

    /// Waits for an event for which `wanted` says true, or until the time comes: then false. Looks at each
    /// event once, also at those that came while a command ran.
    bool wait_for(const std::function<bool(const Value& event)>& wanted,
                  SteadyTime until = SteadyTime::max());

  private:
    void send(const std::string& text, int pass);
    /// The next document; none if the time comes first. Throws unavailable when QEMU has gone.
    std::optional<Value> receive(SteadyTime until = SteadyTime::max());

    const Context& ctx_;
    Fd socket_;
    std::string unread_;
    std::deque<Value> events_;
};

}  // namespace minions::qemu
