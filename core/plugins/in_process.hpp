#pragma once

#include "core/plugins/call_threads.hpp"
#include "core/plugins/transport.hpp"

#include <minions/abi.h>

#include <atomic>
#include <memory>

namespace minions::core {

/// A plugin in this process, called through its descriptor.
///
/// A plugin is never unloaded and may keep threads of its own that call its host at any time: what it was
/// given as host stays valid when the transport ends, and answers `unavailable` from then on.
class InProcessTransport final : public Transport {
  public:
    /// `plugin` has been checked by read_description().
    InProcessTransport(const minions_plugin& plugin, HostHandler handler);
    ~InProcessTransport() override;

    void open(Message parameters, Reply reply) override;
    void call(std::uint64_t id, Message request, Reply reply) override;
    void give_up(std::string_view why) noexcept override;

    class HostPort;

  private:
    struct Target;
    std::shared_ptr<Target> target_;
    CallThreads threads_;
};

}  // namespace minions::core
