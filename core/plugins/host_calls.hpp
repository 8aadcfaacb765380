#pragma once

#include "core/plugins/calls.hpp"
#include "core/plugins/runtimes.hpp"
#include "core/plugins/sink.hpp"
#include "core/plugins/transport.hpp"

#include <minions/seam.hpp>

namespace minions::core {

/// The calls of one plugin into core: what it says for itself goes to the sink, what it says on behalf of a
/// call to that call's Context. A call of it that hangs may outlive the client of the runtime: so this is
/// shared with the transport. Thread-safe once `handle` is filled in.
class HostCalls {
  public:
    explicit HostCalls(PluginSink& to) : sink(to) {}

    /// A HostHandler.
    Message serve(std::uint64_t serves, std::string_view text, std::vector<Fd> fds);

    RuntimeHandle handle;
    PluginSink& sink;
    PluginCalls calls;

  private:
    struct Answer {
        Value value = Value::object();
        std::vector<Fd> fds;
    };
    struct CallMethod;
    static const CallMethod call_methods[];

    Answer answer(std::uint64_t serves, const seam::Request& request, std::vector<Fd> fds);
    void log(std::shared_ptr<PluginCall> call, const Value& parameters);
};

}  // namespace minions::core
