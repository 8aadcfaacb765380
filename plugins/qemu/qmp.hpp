#pragma once

#include <minions/base/fd.hpp>
#include <minions/context.hpp>
#include <minions/value.hpp>

#include <functional>
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

    /// Waits for an event for which `wanted` says true. Also looks at those that came while a command ran.
    void wait_for(const std::function<bool(const Value& event)>& wanted);

  private:
    void send(const std::string& text, int pass);
    /// The next document. Throws unavailable when QEMU has gone.
    Value receive();

    const Context& ctx_;
    Fd socket_;
    std::string unread_;
    std::vector<Value> events_;
};

}  // namespace minions::qemu
